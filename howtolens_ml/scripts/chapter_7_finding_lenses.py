"""
Chapter 7: Finding Lenses and Asking the Network Why
====================================================

Every fit so far began with a lens that somebody had found. Euclid will see more than a billion galaxies, and one in about
ten thousand of them is a strong lens. Nobody looks at a billion galaxies, so a network does. It gives each cut-out a
probability, and people look at the top of the list.

Two questions follow. How good is the list? And what does the network look at: arcs, or something that happens to go with
them in the simulations? This chapter measures the first, and then asks the second in a way that can go wrong, because many
pretty pictures that are said to explain networks do not depend on what the network has learned.

__Contents__

- **Lenses and What Looks Like Them:** Spirals, rings, mergers, stars and artefacts.
- **Probabilities:** What the network says, kind by kind.
- **The ROC Curve:** And why its left edge is all that matters.
- **Are They Probabilities:** Reliability, and what changes it.
- **What It Misses:** Lenses that it was never shown.
- **Occlusion:** Hide a square, and ask again.
- **Grad-CAM:** Where the features are that speak for a lens.
- **Would a Random Network Say the Same:** The sanity test.
- **From Find to Fit:** The commands.
- **Exercise:** A question, and its answer.
- **Wrap Up:** What to take home.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from astropy.io import fits

from autolens_ml.applications.finder.find import find, probabilities_of
from autolens_ml.explain import grad_cam, occlusion_map, sanity_check
from autolens_ml.networks.architectures import stored_network
from autolens_ml.networks.checkpoint import find_card
from autolens_ml.plot.explain_plots import sanity_plot
from autolens_ml.plot.finder_plots import reliability_plot, roc_plot
from autolens_ml.simulate.finding.systems import COMPOUND, KINDS, FindingPopulation
from autolens_ml.training.detection import detection_from, share_from
from autolens_ml.training.finding_set import FindingSource

"""
__Lenses and What Looks Like Them__

Half of what we simulate are lenses, as the lens-finding challenge of Euclid defines them: the source is magnified by more
than 1.6, and is seen. The other half is what gets into lists by mistake: ellipticals with blue neighbours, spirals, ring
galaxies, mergers, stars, artefacts, and galaxies with a source behind them that has only one image.
"""

card = find_card("finder-vis")
network = stored_network(card)
side, scale = card.inputs["shape"][0], card.inputs["pixel_scale"]


def observed(population, n, seed):
    """Systems, and cut-outs of them with noise as the network takes them."""
    rng = np.random.default_rng(seed)
    parts, images = [], []
    for systems in population.batches(n, seed):
        source = FindingSource(systems, ["VIS"], (side, side), scale, augment=False)
        images.append(source.batch_from(np.arange(len(systems)), rng).images.numpy())
        parts.append(systems)
    kinds = np.concatenate([systems.kinds for systems in parts])
    return kinds, np.concatenate([systems.is_lens for systems in parts]), np.concatenate(images)


kinds, is_lens, images = observed(FindingPopulation(bands=["VIS"]), 256, seed=7)
names = np.array(KINDS)[kinds]
print(f"{is_lens.sum()} lenses among {len(images)} cut-outs of {side} x {side} pixels")

middle = slice(50, 150)


def show(ax, image, title):
    """The inner 10 arcsec of a cut-out, in units of the noise of the sky."""
    ax.imshow(np.arcsinh(image[0, middle, middle] / 3.0), cmap="gray", vmin=-0.6, vmax=4.2)
    ax.set_title(title, fontsize=10)
    ax.set(xticks=[], yticks=[])


figure, axes = plt.subplots(2, 7, figsize=(14, 4.4), layout="constrained")
for ax, row in zip(axes[0], np.flatnonzero(is_lens), strict=False):
    show(ax, images[row], "lens")
for ax, kind in zip(axes[1], [kind for kind in KINDS if kind in names[~is_lens]], strict=False):
    show(ax, images[np.flatnonzero(names == kind)[0]], kind)
plt.show()

"""
The upper row is not easy. Most lenses of a survey look like this, and not like those of press releases.

__Probabilities__

`finder-vis` is a small network of convolutions whose answer does not depend on the orientation of the cut-out. It sees the
visible band alone, so it cannot use the most telling thing that there is, that arcs are blue and lenses red.
"""

batches = [images[first : first + 32] for first in range(0, len(images), 32)]
p = np.concatenate([probabilities_of(network, batch) for batch in batches])
print(
    f"{card.name}: {card.n_parameters:,} weights, {card.training['samples']:,} systems in training"
)
print(f"{'kind':<14}{'number':>8}{'called a lens':>16}{'median p':>11}")
for kind in KINDS:
    rows = names == kind
    if rows.any():
        print(
            f"{kind:<14}{rows.sum():>8}{100 * np.mean(p[rows] > 0.5):>14.0f} %{np.median(p[rows]):>11.3f}"
        )

plt.figure(figsize=(6.5, 3.4), layout="constrained")
for rows, label, color in ((is_lens, "lenses", "#1f4e79"), (~is_lens, "others", "#c0392b")):
    plt.hist(p[rows], bins=25, range=(0, 1), histtype="step", lw=1.5, color=color, label=label)
plt.xlabel("probability of a lens")
plt.ylabel("systems")
plt.legend()
plt.show()

"""
Spirals, rings and stars do not deceive it. Ellipticals with faint galaxies around them do, and galaxies whose source has a
single image: those are nearly lenses.

__The ROC Curve__

Where to cut is a choice. A ROC curve shows all of them at once: the share of lenses that is found, against the share of the
others that is called a lens by mistake. The area under it, the AUC, is the chance that a lens has a higher probability than
something else. Bands and intervals hold 95 % of the bootstraps.
"""

detection = detection_from(p, is_lens)


def shown(path, width=9.0):
    """Show a figure that was saved."""
    image = plt.imread(path)
    plt.figure(figsize=(width, width * image.shape[0] / image.shape[1]))
    plt.imshow(image)
    plt.axis("off")
    plt.show()


shown(roc_plot({"finder-vis": detection}, Path("roc.png")), 11.0)
for name in ("auc", "recall", "precision", "tpr_0"):
    here, there = detection.figures[name], card.metrics[name]
    print(f"{name:<10} {here['value']:.3f} ({here['low']:.3f} to {here['high']:.3f});", end=" ")
    print(
        f"its card, from {there['n']:,}: {there['value']:.3f} ({there['low']:.3f} to {there['high']:.3f})"
    )

through = share_from(p[~is_lens] > 0.5)
print(f"of what is no lens {100 * through['value']:.0f} % is called one,", end=" ")
print(f"which of a billion like these would be {through['value']:.2f} billion")

"""
An AUC of 0.95 sounds like a solved problem. Now remember that lenses are one in ten thousand, and look at the last line.
What counts for a survey is the left edge of the curve on the right: how many lenses are found while there are hardly any
false positives. The number for it is `tpr_0`, the share found before the first mistake. It is a different story, and worse
the more systems are looked at, as the card shows: among ten times as many there is a more convincing mistake.

__Are They Probabilities__

Take everything that was called 80 % likely. If 80 % of it are lenses, the number is a probability. That can be counted.
"""

shown(reliability_plot({"finder-vis": detection}, Path("reliability.png")), 5.0)
error = detection.figures["calibration_error"]
print(
    f"mean distance from the diagonal: {error['value']:.3f} ({error['low']:.3f} to {error['high']:.3f})"
)

"""
The bars are long with 256 systems, and the diagonal is within nearly all of them: the network was calibrated after training. But a probability is one for a population, and
in this one every second system is a lens. In a survey the odds are lower by the ratio of the odds before anything was seen:
"""

for prior in (0.5, 0.01, 0.0001):
    odds = 0.99 / 0.01 * prior / (1.0 - prior)
    print(
        f"lenses are {prior:>6.4g} of all: what the network calls 0.99 is {odds / (1.0 + odds):.3f}"
    )

"""
So the top of a list of a survey is mostly false, with this network as with others, and its order is what you use.

__What It Misses__

A network knows what it was shown. Lenses with two galaxies in a row in front of the source make two sets of arcs or two
rings. There were none in training. Here are 64 of each kind.
"""

compound = {}
for number, kind in enumerate(COMPOUND):
    _, _, found = observed(FindingPopulation({kind: 1.0}, bands=["VIS"]), 64, seed=70 + number)
    batches = [found[first : first + 32] for first in range(0, 64, 32)]
    compound[kind] = found, np.concatenate([probabilities_of(network, batch) for batch in batches])
for kind, share in [
    ("plain lenses", share_from(p[is_lens] > 0.5)),
    *((kind, share_from(values > 0.5)) for kind, (_, values) in compound.items()),
]:
    print(
        f"{kind:<14} found: {100 * share['value']:.0f} % ({100 * share['low']:.0f} to {100 * share['high']:.0f} %)"
    )

figure, axes = plt.subplots(2, 6, figsize=(13, 4.9), layout="constrained")
for line, (kind, (found, values)) in zip(axes, compound.items(), strict=True):
    order = np.argsort(values)
    for ax, row in zip(line, [*order[:3], *order[-3:]], strict=True):
        show(ax, found[row], f"p = {values[row]:.3f}")
    line[0].set_ylabel(kind)
plt.show()

"""
On the left of each row are those that it is most certain are no lenses, on the right the best ones. What it throws away are
whole rings. The table above offers a reason: in training, ring galaxies were whole rings as well, and it learned not to be
deceived by them. These are the most valuable lenses that there are, since two sources at different distances measure the expansion of the universe, and they are
what it loses most often. Nothing in the AUC said so. The only way to know is to ask for each kind that you care about.

__Occlusion__

Now the second question. The most direct way to ask what a network looks at is to hide a square of the cut-out behind sky,
look at how the answer changes, and move the square. We ask for the log-odds, which still move where a probability is
already next to one.
"""

lens = int(np.flatnonzero(is_lens)[np.argsort(-p[is_lens])[2]])
mistake = int(np.flatnonzero(~is_lens)[np.argmax(p[~is_lens])])
print(
    f"a lens with p = {p[lens]:.4f}, and the worst mistake ({names[mistake]}), with {p[mistake]:.4f}"
)
chosen = {"lens": lens, f"{names[mistake]}, no lens": mistake}
hidden = {
    row: occlusion_map(network, images[row], window=8, log_odds=True) for row in chosen.values()
}
cams = {row: grad_cam(network, images[row]) for row in chosen.values()}

figure, axes = plt.subplots(2, 3, figsize=(11, 7), layout="constrained")
for line, (name, row) in zip(axes, chosen.items(), strict=True):
    show(line[0], images[row], f"{name}: p = {p[row]:.3f}")
    largest = np.abs(hidden[row]).max()
    drawn = line[1].imshow(
        hidden[row][0, middle, middle], cmap="RdBu_r", vmin=-largest, vmax=largest
    )
    figure.colorbar(drawn, ax=line[1], shrink=0.8, label="change of log-odds")
    line[1].set_title("occlusion", fontsize=10)
    drawn = line[2].imshow(cams[row][0, middle, middle], cmap="inferno", vmin=0)
    figure.colorbar(drawn, ax=line[2], shrink=0.8, label="log-odds per pixel")
    line[2].set_title("Grad-CAM", fontsize=10)
    for ax in line:
        ax.set(xticks=[], yticks=[])
plt.show()

y, x = np.indices((side, side)) - 0.5 * (side - 1)
inner = np.hypot(y, x) * scale < 3.0
for name, row in chosen.items():
    size = np.abs(hidden[row][0])
    print(
        f"{name}: {100 * size[inner].sum() / size.sum():.0f} % of the change is within 3 arcsec of the middle,"
    )
    print(
        f"  which is {100 * inner.mean():.0f} % of the cut-out; the largest drop is {hidden[row].min():.1f}"
    )

"""
Blue squares speak for a lens: without them the odds fall. Red ones speak against it. In the second row the same network
looks in the same way at something that is none, and you can see what deceived it.

__Grad-CAM__

The maps on the right are made in another way. The last feature maps of the network are added up, each weighted by how much
the answer would grow with it. They cost one pass forward and one back, where occlusion took some hundreds, and they are
coarse, since the last feature maps have few pixels. They do not say by how much the answer would change if anything were
different; they say where the features are that speak for a lens. In the first row some of them are over empty sky, where
hiding a square changes nothing: the two methods do not answer the same question.

__Would a Random Network Say the Same__

Both maps are convincing. That is the danger: a map that follows bright edges is convincing for any network, even one that
has learned nothing. So we take what the network has learned away from it, layer by layer from the last to the first, and
make the maps again. A map that explains what was learned must lose its structure. One that stays as it was has explained
the image, and not the network.

(Larger squares, and four draws of random weights for a single cut-out, are used here, to be quick.)
"""

results = {
    "occlusion": sanity_check(
        network, images[[lens]], "occlusion", n_draws=4, window=34, log_odds=True
    ),
    **{
        name: sanity_check(network, images[[lens]], name, n_draws=4)
        for name in ("grad-cam", "guided-backprop", "guided-grad-cam")
    },
}
shown(sanity_plot(results, Path("sanity.png")), 11.0)
for name, result in results.items():
    figure = result.figure()
    words = "passes" if result.passed else "does not pass"
    print(
        f"{name:<16} {words:<14} correlation {figure['value']:.2f} ({figure['low']:.2f} to {figure['high']:.2f})"
    )

"""
The number is the correlation of the ranks with the map of the trained network, when all weights are random. A method passes
if it is below one half, with its error. Occlusion, the most honest of them all, does not pass here, and the figure says why.
The dotted line is the correlation of absolute values, and it hardly falls: any network, whatever its weights, changes its
answer most where there is light to hide. What was learned is by how much, and with which sign. A single occlusion map with a
dark square on the galaxy is therefore no proof of anything.

Use those that pass. About those that do not, the map of *this* network may still be
right; but you would have got nearly the same one from a network that knows nothing, so it is no evidence.

__From Find to Fit__

In practice the cut-outs are files. `find` takes files, folders and catalogues, writes a table row by row, and goes on where
it was cut off.
"""

folder = Path("cutouts")
folder.mkdir(exist_ok=True)
for row in range(12):
    unit = fits.ImageHDU(images[row, 0], name="VIS_BGSUB")
    unit.header["PIXSCALE"] = scale
    path = folder / f"{names[row]}_{row}.fits"
    fits.HDUList([fits.PrimaryHDU(), unit]).writeto(path, overwrite=True)
report = find([folder], network="finder-vis", output="lenses.csv")
print(str(report).splitlines()[0])
for each in report.lenses:
    print(f"  {each.probability:.3f}  {each.name}")

"""
On the command line the same is

    autolens-ml find cutouts/ --network finder-vis --out lenses.csv

and with `--fit` every lens that was found is fitted by `aml.CNN`, with a mask, a band and a model that are chosen for it:

    autolens-ml find cutouts/ --network finder-vis --out lenses.csv --fit

For that the files must have what a fit needs, a PSF and a noise map beside the image, as `VIS_PSF` and `VIS_RMS`. The rows of
the fits are in `lenses-fits.csv`. A fit is the best test of a candidate as well: what is no lens does not become one by being
fitted. The maps of this chapter are `autolens-ml explain FILE --method occlusion`, and `--method sanity` is the test.

__Exercise__

The network looks at the middle of the cut-out. What happens to a lens that is not in the middle, as when the catalogue had a
wrong position? Guess, then shift the lenses that were found, and look at how many are still found.
"""

found = images[is_lens & (p > 0.5)][:24]
for shift in (0.0, 0.2, 0.4, 0.6, 1.0):
    pixels = round(shift / scale)
    moved = np.roll(found, pixels, axis=-1)
    still = share_from(probabilities_of(network, moved) > 0.5)
    print(
        f"shifted by {shift:.1f} arcsec: {100 * still['value']:.0f} % found ({100 * still['low']:.0f} to {100 * still['high']:.0f} %)"
    )

"""
The answer: it forgives what catalogues do. In its training galaxies were a quarter of an arcsecond off the middle, and up to
half an arcsecond it loses next to none. At one arcsecond, where no more than one cut-out in thousands of its training was, it
begins to. A network can be asked for what its training had, and for little else: centre your cut-outs on galaxies, and do
not slide it over a field.

__Wrap Up__

You measured a finder where it counts, at few false positives and for the lenses that it was never shown, and you asked it
why with methods that had to prove first that they depend on what was learned.

The next chapter asks what dark matter does in the lenses that were found.
"""
