"""
Chapter 10: A Thousand Lenses, Catalogues on Dask
=================================================

One lens is a notebook. A thousand lenses are a night on a computer that somebody will restart, with files that somebody
copied by halves, and in the morning there are 987 results. Which ones are missing, and why? A loop over files has no answer,
because it has either stopped at the first bad file or swallowed the error.

Euclid will bring a hundred thousand lenses. This chapter is about doing the same thing to many of them so that every lens
ends with a result or with a reason. You damage a small survey on purpose, run a network over it on two processes, kill one
of them with the signal that cannot be caught, and count. Then you ask the question that no single lens can answer: what
distribution do they all come from?

__Contents__

- **A Survey in a Folder:** Sixty-four lenses, whose true distribution we know.
- **Damage:** Four files as they come from real discs.
- **A Run:** Two processes, of which one dies.
- **Every Lens Has a Row:** Results, reasons, and none twice.
- **Again, but Only What Is Missing:** Mend a file, give the same command.
- **A Page to Look At:** A thousand pictures are looked at, not read.
- **The Population:** From posteriors to the distribution behind them.
- **How It Scales:** What a hundred thousand lenses cost, honestly.
- **Exercise:** A question, and its answer.
- **Wrap Up:** What to take home.
"""

import copy
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import psutil
from astropy.io import fits
from scipy import stats

import autolens_ml as aml
from autolens_ml.catalogue.population import infer_population
from autolens_ml.catalogue.posteriors import LensSamples
from autolens_ml.simulate.description import population_from
from autolens_ml.simulate.stored import write_fits

"""
__A Survey in a Folder__

We need lenses whose distribution is known, so that we can see whether it comes back. Everything about them is as in the
training of the network `euclid-sie`, but for one thing: their Einstein radii do not fill the prior, from 0.4" to 2.0". They
come from a narrow Gaussian around 1.1". In nature that would be what you want to find out.

`write_fits` makes a folder for each lens, with image, noise map and PSF, as PyAutoLens reads them. Such a folder of folders
*is* a catalogue; so is a folder of FITS files, or a CSV file with a column `file`.
"""

RADIUS = "galaxies.lens.mass.einstein_radius"
MEAN, WIDTH = 1.1, 0.08
N = 64

network = aml.load_network("euclid-sie")
description = copy.deepcopy(network.card.outputs["population"])
description["model"]["lens"]["mass"]["einstein_radius"] = {
    "truncated_gaussian": [MEAN, WIDTH, 0.4, 2.0]
}
population = population_from(description)

survey, results = Path("survey"), Path("results")
for folder in (survey, results):
    shutil.rmtree(folder, ignore_errors=True)
write_fits(population, N, 10, survey)

folders = sorted(path for path in survey.iterdir() if path.is_dir())
truths = {
    path.name: json.loads((path / "info.json").read_text())["parameters"][RADIUS]
    for path in folders
}
images = [fits.getdata(path / "data.fits") for path in folders]
print(f"{len(folders)} folders, such as {folders[0].name}")
print(f"true Einstein radii: {min(truths.values()):.2f} to {max(truths.values()):.2f} arcsec")

figure, axes = plt.subplots(4, 16, figsize=(14, 3.8), layout="constrained")
for ax, image in zip(axes.ravel(), images, strict=True):
    ax.imshow(np.arcsinh(image / np.percentile(image, 90)), cmap="gray", origin="lower")
    ax.set(xticks=[], yticks=[])
plt.show()

"""
__Damage__

Now do to it what discs, networks and colleagues do. One file is cut short, one has a pixel that is not a number, one a noise
map with a zero in it, and one a header that claims a hundred thousand million axes. The last is not a joke: a reader that
believes it does not crash, it *hangs*, and the night is over.
"""

cut, nan, noiseless, absurd = (folders[i] for i in (5, 17, 29, 41))
whole = (cut / "data.fits").read_bytes()
(cut / "data.fits").write_bytes(whole[: len(whole) // 2])
for path, value in ((nan / "data.fits", np.nan), (noiseless / "noise_map.fits", 0.0)):
    with fits.open(path, mode="update") as units:
        units[0].data[30, 31] = value
header = (absurd / "data.fits").read_bytes()
(absurd / "data.fits").write_bytes(
    header.replace(b"NAXIS   =                    2", b"NAXIS   =         100000000000", 1)
)
damaged = [path.name for path in (cut, nan, noiseless, absurd)]
print("damaged:", ", ".join(damaged))

"""
__A Run__

In a terminal you would type

    autolens-ml catalogue run survey --task predict --out results --workers 2

The task `predict` asks the network alone, a fraction of a second for each lens. Others are `fit` (a posterior from your own
likelihood, with PyAutoLens's whole output folder for every lens), `find`, `morphology` and `shear`. Options of a task are
given with `--set`, or in columns of a CSV file where they differ from lens to lens.

The workers are processes of Dask, so what runs here on two of them runs on a cluster with one other option. Each takes a
few lenses at a time, writes a small file for every lens that is done, and takes the next.

We start that command, wait until a quarter of the lenses is done, and kill one of the workers with SIGKILL. That is what the
kernel does when memory runs out, and what a power cut does to everybody: nothing is tidied up.
"""

command = shutil.which("autolens-ml") or Path(sys.executable).with_name("autolens-ml")
line = f"catalogue run {survey} --task predict --out {results} --workers 2"
run = subprocess.Popen(
    [str(command), *line.split()],
    stdout=subprocess.PIPE,
    stderr=subprocess.DEVNULL,
    text=True,
)
started, seen, killed = time.perf_counter(), [(0.0, 0)], None
while run.poll() is None:
    time.sleep(0.1)
    seconds = time.perf_counter() - started
    n_done = len(list(results.glob("records/*/*.json")))
    seen.append((seconds, n_done))
    if killed is None and n_done >= N // 4:
        workers = [
            child
            for child in psutil.Process(run.pid).children()
            if "spawn_main" in " ".join(child.cmdline())
        ]
        os.kill(workers[0].pid, signal.SIGKILL)
        killed = seconds
print(run.stdout.read().replace(str(Path.cwd()) + os.sep, ""))

seconds, n_done = np.array(seen).T
plt.figure(figsize=(8, 3.4), layout="constrained")
plt.step(seconds, n_done, color="#1f4e79", where="post")
plt.axvline(killed, color="#c0392b", ls="--", label="a worker is killed")
plt.axhline(N, color="k", lw=0.6)
plt.xlabel("seconds since the command was given")
plt.ylabel("lenses with a record")
plt.legend()
plt.show()

first = seconds[n_done > 0][0]
print(f"first record after {first:.0f} s, the last {seconds[-1] - first:.0f} s later")

"""
Most of the time until the first record is the start: every process imports PyAutoLens and PyTorch once. That is paid once
for each process and not once for each lens, so it vanishes in a run of thousands. After the kill the count went on, because
the other worker did, and a new one was started for the dead one.

__Every Lens Has a Row__

Did anything get lost, or done twice? Count.
"""

table = aml.catalogue.read_table(results)
names = list(table["name"])
print(f"rows: {len(names)}, different names: {len(set(names))}, lenses: {N}")
print(f"lost: {len(set(truths) - set(names))}")
print(f"workers that wrote records: {len(set(table['worker']))}")
print(dict(Counter(map(str, table["status"]))))

"""
And the ones without a result have a reason, in words that say what to do:
"""

for row in table[table["status"] == "ERROR"]:
    reason = str(row["reason"]).replace(str(survey.resolve()) + os.sep, "")
    print(f"{row['name']}: {reason}")
print(
    "exactly those that we damaged:", sorted(table["name"][table["status"] == "ERROR"]) == damaged
)

"""
How does this work? There is no database and no list of what is done. The record of a lens is written under another name,
and renamed when it is whole: so it is either there or not. A lens that is begun has a mark, and one that was begun three
times without an end is given up with the reason `worker died`, lest one poisonous file kill worker after worker all night.
The table (`table.csv`, `table.fits`, `table.parquet`) is made from the records while the run goes on.

__Again, but Only What Is Missing__

Mend one file in the way that its reason proposes, and give the same command again. In Python it is `aml.catalogue.run`;
`workers=0` is no other process than this one, which is best for a handful of lenses, and for finding a bug.
"""

for name, value in (("data.fits", 0.0), ("noise_map.fits", 1e3)):
    with fits.open(nan / name, mode="update") as units:
        units[0].data[30, 31] = value

report = aml.catalogue.run(survey, "predict", results, workers=0)
print(f"measured again: {report.n_measured} of {report.n}")
print(report.statuses)

"""
Four were measured again, those without a result, and one of them has one now. What was done was not touched. The same is
true after a crash, a full disc, or Ctrl-C: the command that began a run is the command that continues it. Had you changed an
option it would refuse, because a table whose rows were made in different ways is worse than none.

Now the results. Each estimate has the error that the network states:
"""

table = aml.catalogue.read_table(results)
good = table[table["status"] == "DONE"]
true = np.array([truths[name] for name in good["name"]])
estimate = np.asarray(good[RADIUS], dtype=float)
minus, plus = (
    np.asarray(good[f"{RADIUS}_error_{side}"], dtype=float) for side in ("minus", "plus")
)

figure, ax = plt.subplots(figsize=(5.4, 4.4), layout="constrained")
ax.errorbar(true, estimate, yerr=(minus, plus), fmt="o", ms=4, lw=0.8, color="#1f4e79")
ax.axline((1.1, 1.1), slope=1.0, color="k", lw=1)
ax.set(xlabel="true Einstein radius (arcsec)", ylabel="estimated")
plt.show()

error = np.where(estimate > true, minus, plus)
print(f"median error that is stated: {np.median(0.5 * (minus + plus)):.3f} arcsec")
inside = np.mean(np.abs(estimate - true) < error)
print(f"within one of them: {100 * inside:.0f} % of the lenses; 68 % are expected")

"""
__A Page to Look At__

Nobody reads a thousand rows, but everybody can look at a thousand pictures. `autolens-ml catalogue report results` writes an
HTML file that needs no server: a table to sort and search, a picture of every lens, filters by status, and histograms.
"""

page = aml.catalogue.write_page(results)
print(page, f"{page.stat().st_size / 1024:.0f} KiB")
print(f"pictures: {len(list((page.parent / 'images').glob('lens_*.png')))}")

plt.figure(figsize=(11, 5), layout="constrained")
plt.imshow(plt.imread(page.parent / "images" / "histograms.png"))
plt.axis("off")
plt.show()

"""
Lenses without a result have no picture, and their reasons are in the last column.

__The Population__

What are the Einstein radii of *all* lenses like: what mean, what width? The obvious answer is the histogram of the
estimates. It is too wide, because each estimate carries its error. The next obvious answer, to add up the posteriors, is
wider still: it adds the errors a second time.

What is right is to ask, for a mean and a width, how probable each lens is, and to multiply. The posterior of a lens is its
likelihood times the prior of its fit, so the prior is divided out, and what remains is weighed with the population that one
asks about:

    prod_i sum_j w_ij p(x_ij | mean, width) / prior(x_ij)

with j over the samples of lens i. After a run with `--task fit` the samples are in PyAutoLens's output, and `autolens-ml
catalogue population results -p einstein_radius` does all of this. Our run was the network alone, so we draw samples from its
posteriors; the prior with which it was trained is uniform from 0.4" to 2.0".
"""

simulated = aml.simulate(population, N, seed=10)
kept = [i for i, path in enumerate(folders) if path.name in set(good["name"])]
posteriors = network.posteriors_from([simulated.imaging_from(i) for i in kept])
column = network.names.index(RADIUS)
samples = [
    LensSamples(
        name=folders[i].name,
        values=(values := posterior.sample(1000, seed=i)[:, column]),
        weights=np.full(len(values), 1.0),
        log_prior=np.zeros(len(values)),
        bounds=(0.4, 2.0),
    )
    for i, posterior in zip(kept, posteriors, strict=True)
]
found = infer_population(samples)
medians = np.array([np.median(lens.values) for lens in samples])
stacked = np.concatenate([lens.values for lens in samples])
print(found)
print(f"{'':<26}{'mean':>8}{'width':>8}")
for words, mean, width in (
    ("true, of the population", MEAN, WIDTH),
    ("true, of these lenses", true.mean(), true.std(ddof=1)),
    ("histogram of medians", medians.mean(), medians.std(ddof=1)),
    ("posteriors added up", stacked.mean(), stacked.std(ddof=1)),
    ("inferred", found.mean[1], found.width[1]),
):
    print(f"{words:<26}{mean:>8.3f}{width:>8.3f}")

x = np.linspace(0.7, 1.5, 400)
figure, axes = plt.subplots(1, 2, figsize=(12, 4.2), layout="constrained")
axes[0].hist(medians, bins=14, density=True, color="#1f4e7960", label="medians of lenses")
axes[0].hist(
    stacked, bins=80, range=(0.7, 1.5), density=True, histtype="step", color="k", label="added up"
)
drawn = np.transpose([stats.norm.pdf(x, *each) for each in found.sample(40, seed=1)])
axes[0].plot(x, drawn, color="#c0392b", alpha=0.15, label=["inferred", *[None] * 39])
axes[0].plot(x, stats.norm.pdf(x, MEAN, WIDTH), color="k", ls="--", label="truth")
axes[0].set(xlabel="Einstein radius (arcsec)", ylabel="density", xlim=(0.7, 1.5))
for line in axes[0].legend(frameon=False).get_lines():
    line.set_alpha(1.0)
axes[1].contourf(found.means, found.widths, found.density.T, levels=12, cmap="Blues")
axes[1].plot(MEAN, WIDTH, marker="+", ms=14, mew=2, color="#c0392b")
axes[1].set(xlabel="mean", ylabel="width")
plt.show()

off = [
    abs(value[1] - truth) / (0.5 * (value[2] - value[0]))
    for value, truth in ((found.mean, MEAN), (found.width, WIDTH))
]
print(f"mean {off[0]:.1f} and width {off[1]:.1f} standard errors from the truth")

"""
Two cautions. Which lenses are found at all is not in this formula: a survey that only finds wide lenses has a population of
wide lenses. And it believes the posteriors. If a network's widths are wrong the population is wrong, and so many lenses make
it *confidently* wrong, so measure calibration first (chapter 4), or fit.

__How It Scales__

The table has the seconds of every lens and the memory of its worker. Lenses do not talk to each other, so twice the workers
are twice the lenses, until the disc or the memory says no.
"""

own = float(np.median(table["seconds"][table["status"] == "DONE"]))
print(f"median seconds of a lens: {own:.2f}")
print(f"memory of a worker: {np.max(table['memory_mb']) / 1000:.1f} GB")

cores = np.array([1, 4, 16, 64, 256])
plt.figure(figsize=(7, 3.8), layout="constrained")
for words, each in (
    ("this run, the network alone", own),
    ("a fit of 20 s", 20.0),
    ("a fit of 5 min", 300.0),
):
    hours = 1e5 * each / cores / 3600.0
    plt.loglog(cores, hours, marker="o", label=words)
    print(f"100,000 lenses, {words}: {hours[0]:,.1f} h on one core, {hours[3]:,.1f} h on 64")
plt.axhline(24.0, color="k", lw=0.8, ls="--")
plt.xlabel("cores")
plt.ylabel("hours for 100,000 lenses")
plt.legend(frameon=False)
plt.show()

"""
The lines are straight because we drew them so. The first is measured, here, with whatever else this machine was doing. The
others are what fits cost *if* yours take so long: run `--task fit` on ten of your lenses and put your number in. What bends
such lines in practice is the start of the processes, which you saw, and a shared disc with a million small files.

On a cluster the same command has one other option, and each worker should be given one core:

    autolens-ml catalogue run survey --task fit --out results --scheduler tcp://host:8786
    autolens-ml catalogue run survey --task fit --out results --slurm queue=cpu --slurm jobs=64

__Exercise__

You want to know the width of the population to 10 %. How many lenses do you need? Guess from the error above, then check the
guess with a quarter of the lenses.

The answer: the error of a width goes with one over the root of the number of lenses. A quarter of the lenses should give an
error that is twice as large.
"""

error = 0.5 * (found.width[2] - found.width[0])
needed = len(samples) * (error / (0.1 * found.width[1])) ** 2
few = infer_population(samples[::4])
few_error = 0.5 * (few.width[2] - few.width[0])
print(f"width {found.width[1]:.3f} +- {error:.3f} from {len(samples)} lenses")
print(f"10 % of it would need about {needed:.0f} lenses")
print(f"from {len(samples[::4])} lenses: +- {few_error:.3f}, expected {2 * error:.3f}")

"""
With perfect measurements it would be 50 lenses, since the relative error of a standard deviation is one over the root of
2 n. What is above that is the price of the errors of single lenses. A fit with your own likelihood has smaller ones, so for
a *population* the choice between a network and fits is a choice between many cheap lenses and fewer dear ones.

__Wrap Up__

You ran a task over a survey with damaged files and a dying worker, and every lens ended with a result or a reason. You
continued a run by repeating it, looked at all lenses on one page, and found the distribution behind them, without its errors
and without the prior of the network.
"""
