"""
Chapter 3: Train for Your Own Model and Telescope
=================================================

The networks that ship know a few instruments and a few models. Your telescope is another one, or your model has something
that none of them has seen. Then a shipped network is of no use to you, and this is not a defect that a bigger network
would cure: a network knows what it was shown, and nothing else.

So in this chapter you show a network something of your own. You describe a telescope and compose an `af.Model`: its priors
say which lenses there are, PyAutoLens makes their images, and a network learns to read them. We train for about a minute,
which is far too short, measure how far a minute gets, and use the network as the start of a fit.

__Contents__

- **A Telescope:** `aml.Instrument`, what turns light into an image.
- **A Model:** A lens with two sources at different distances, which no shipped network knows.
- **A Population:** Priors are beliefs about lenses. Look at them before you train on them.
- **Simulating:** `aml.simulate`, how fast it is, and a check that it is PyAutoLens.
- **A Preset:** Everything that makes a network, in one object.
- **Training:** About a minute, and the curve to look at.
- **How Good Is It:** Errors and coverage on lenses that it never saw.
- **What More Time Buys:** Three networks, and an honest extrapolation.
- **Fitting with It:** `aml.CNN(network=PATH)` on one lens, and the same fit without a network.
- **Exercise:** A question, and its answer.
- **Wrap Up:** What to take home.
"""

import csv
import shutil
import time
from dataclasses import replace
from pathlib import Path

import autofit as af
import autolens as al
import matplotlib.pyplot as plt
import numpy as np

import autolens_ml as aml
from autolens_ml.training.evaluate import evaluate
from autolens_ml.training.preset import Preset, TrainingOptions
from autolens_ml.training.train import Hardware, train

"""
__A Telescope__

Our telescope hangs under a balloon in the stratosphere. Its mirror is small, so the PSF is wide for a telescope above the
weather, and its exposures are short. None of the shipped networks was trained for it.

An `aml.Instrument` has ranges where observations differ from each other: every lens draws its own PSF width and exposure
time. A network that has seen a range can serve the range, one that has seen a single value serves that value alone.
"""

balloon = aml.Instrument(
    name="balloon",
    shape=(48, 48),
    pixel_scale=0.14,
    psf_fwhm=(0.30, 0.40),
    exposure_time=(900.0, 3600.0),
    background_sky_level=0.5,
    read_noise=5.0,
    bands=("VIS",),
)

for card in aml.networks("lens-parameters"):
    print(f'{card.name} is for pixels of {card.inputs["pixel_scale"]}", these are 0.14"')

"""
__A Model__

Lenses with one ring are the daily bread. We want those with two: a lens in front of two galaxies at different distances,
each of which becomes a ring of its own size. The ratio of the sizes depends on distances alone, which makes such lenses a
tool of cosmology, and rare ones. We write no more about lensing than this `af.Model`, here or later.
"""


def source_model(redshift):
    """A round exponential galaxy behind the lens."""
    light = af.Model(al.lp.ExponentialSph)
    light.centre.centre_0 = af.GaussianPrior(mean=0.0, sigma=0.15)
    light.centre.centre_1 = af.GaussianPrior(mean=0.0, sigma=0.15)
    light.intensity = af.LogUniformPrior(lower_limit=0.1, upper_limit=2.0)
    light.effective_radius = af.LogUniformPrior(lower_limit=0.04, upper_limit=0.2)
    return af.Model(al.Galaxy, redshift=redshift, light=light)


mass = af.Model(al.mp.Isothermal, centre=(0.0, 0.0))
mass.ell_comps.ell_comps_0 = af.GaussianPrior(mean=0.0, sigma=0.12)
mass.ell_comps.ell_comps_1 = af.GaussianPrior(mean=0.0, sigma=0.12)
mass.einstein_radius = af.UniformPrior(lower_limit=1.2, upper_limit=2.2)

model = af.Collection(
    galaxies=af.Collection(
        lens=af.Model(al.Galaxy, redshift=0.3, mass=mass),
        near=source_model(redshift=0.5),
        far=source_model(redshift=2.0),
    )
)
print(f"{model.prior_count} free parameters")

"""
__A Population__

`aml.Population` is a model and an instrument together. A prior becomes something else here: the recipe for the lenses that
the network will see. One that is too wide is harmless in a fit, since the data cut it down. In a training it fills the set
with lenses that do not exist, and the network spends its time on those. So look at what your priors draw: in the lower row
ours, in the upper row PyAutoLens's default ones for the same profiles, which serve for anything from dwarfs to clusters.
"""

default_model = af.Collection(
    galaxies=af.Collection(
        lens=af.Model(al.Galaxy, redshift=0.3, mass=al.mp.Isothermal),
        near=af.Model(al.Galaxy, redshift=0.5, light=al.lp.ExponentialSph),
        far=af.Model(al.Galaxy, redshift=2.0, light=al.lp.ExponentialSph),
    )
)

population = aml.Population(model, balloon)
few = {
    "default priors": aml.simulate(aml.Population(default_model, balloon), n=6, seed=2),
    "our priors": aml.simulate(population, n=6, seed=2),
}

figure, axes = plt.subplots(2, 6, figsize=(14, 5.0), layout="constrained")
for row, (label, lenses) in zip(axes, few.items(), strict=True):
    for ax, image, noise_map in zip(row, lenses.data, lenses.noise_maps, strict=True):
        noise = noise_map.min()
        vmax = max(np.percentile(image, 99.5), 10.0 * noise)
        ax.imshow(image, cmap="inferno", vmin=-2.0 * noise, vmax=vmax)
        ax.set(xticks=[], yticks=[])
    row[0].set_ylabel(label)
plt.show()

"""
Below are two rings, arcs, and now and then a galaxy that is hardly there. The default priors draw sources as large as the
image, or nothing that rises above the noise.

__Simulating__

Images are made by PyAutoLens itself, compiled by JAX. So the simulator and the likelihood cannot disagree, which is the
quiet way in which many a network went wrong. We check the speed and the agreement: for ten lenses an ordinary
`al.FitImaging` of the true galaxies says how well they fit the simulated data.
"""

start = time.perf_counter()
lenses = aml.simulate(population, n=1000, seed=5)
seconds = time.perf_counter() - start
print(f"{len(lenses):,} lenses in {seconds:.1f} s: {len(lenses) / seconds:.0f} per second")

reduced, differences = [], []
for i in range(10):
    tracer = al.Tracer(galaxies=list(lenses.instance_from(i).galaxies))
    fit = al.FitImaging(dataset=lenses.imaging_from(i), tracer=tracer)
    reduced.append(float(fit.chi_squared) / fit.data.array.size)
    difference = fit.model_data.native.array - lenses.images[i]
    differences.append(np.max(np.abs(difference)) / np.max(lenses.images[i]))
print(f"chi squared per pixel of the truth: {np.mean(reduced):.3f} +- {np.std(reduced):.3f}")
print(f"largest difference of an image, relative to its peak: {max(differences):.1e}")

"""
__A Preset__

A `Preset` says what is trained: the task, the data, the network and the options of the training. Those that ship are YAML
files in the same form. The population is described by the model's own dictionary, so that the card of the finished network
can say to everyone, years later, which lenses it has learned from.

The network here is small, and the numbers are those of a minute. The shipped `euclid-sie` has seen thirty times as many
lenses, in eight times as many steps of twice as many images each.
"""

options = TrainingOptions(
    n_training=5000, n_validation=500, n_steps=450, batch_size=64, ema_decay=0.98, validate_every=50
)
preset = Preset(
    name="balloon-two-sources",
    description="An isothermal lens in front of two exponential sources, seen from a balloon.",
    task="lens-parameters",
    data={
        "population": {"model": model.dict(), "instrument": balloon.as_dict()},
        "targets": list(population.names),
        "shares": {"masked": 0.3},
    },
    network={
        "head": "mixture",
        "backbone_options": {"widths": [24, 48, 96], "depths": [1, 1, 1], "fold": 3},
        "head_options": {"n_components": 2},
    },
    training=options,
    seed=3,
)

"""
`targets` are the parameters to be estimated; what is left out is averaged over. `shares` says how many of the images are cut
by a mask, as your datasets will be. If you have an image of your telescope already, you need not describe it at all:
`autolens-ml train --model MODEL.json --like lens.fits` takes pixels, PSF and noise from there.

__Training__

`train` simulates the lenses, trains, and stores the network with its card; with `say=print` it tells how far it is. It can
be interrupted: the same call goes on where it was. The lenses are stored without noise and at unit brightness, and in every
step they are observed anew, turned and flipped where the priors allow it, with other noise and brightness. So no image is
seen twice. (All seconds stored here are of a small share of one busy core. The processor itself worked for a minute.)
"""

folder, cpu = Path("training"), Hardware(accelerator="cpu", precision="32-true")
sets = folder / "sets"
shutil.rmtree(folder, ignore_errors=True)  # what an earlier run of this chapter left
start = time.perf_counter()
card = train(preset, folder / "minute", cpu, sets=sets)
seconds = time.perf_counter() - start
print(f"{card.n_parameters:,} weights, {seconds:.0f} s with the simulation of the lenses")

"""
The loss is minus the mean logarithm of the posterior density that the network gives to the true parameters, in units in
which the prior is a unit normal. So it has a meaning that losses rarely have: how far it lies below that of the prior, is
what the network has learned about the average lens, in nats.
"""

with next((folder / "minute" / "logs").rglob("metrics.csv")).open() as file:
    rows = [row for row in csv.DictReader(file) if row["validation_loss"]]
steps, losses = ([float(row[name]) for row in rows] for name in ("step", "validation_loss"))
of_prior = 0.5 * model.prior_count * (1.0 + np.log(2.0 * np.pi))

plt.figure(figsize=(6.5, 3.8), layout="constrained")
plt.plot(steps, losses, marker=".", label="network, on lenses it never saw")
plt.axhline(of_prior, color="0.5", ls="--", label="the prior, which looks at nothing")
plt.xlabel("Step")
plt.ylabel("- log posterior density of the truth")
plt.legend()
plt.show()
print(f"learned about the average lens: {of_prior - min(losses):.1f} nats")

"""
The learning rate falls to zero over the steps that you ask for, so the curve always flattens towards the end. That is no
proof that there was nothing left to learn. We come back to this.

__How Good Is It__

`evaluate` draws fresh lenses, from a stream that no training shares, and measures. First the plot of estimates against the
truth, for the parameter that matters most and for one that is hard.
"""

evaluation = evaluate(card, n=1000, seed=0)
calibration = evaluation.calibration
names = list(calibration.names)
radius = names.index("galaxies.lens.mass.einstein_radius")
size = names.index("galaxies.far.light.effective_radius")

figure, axes = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
for ax, k in zip(axes, (radius, size), strict=True):
    truth, median = calibration.truths[:, k], calibration.medians[:, k]
    error = [median - calibration.lower[:, k], calibration.upper[:, k] - median]
    ax.errorbar(truth, median, yerr=error, fmt=".", ms=3, lw=0.4, alpha=0.5)
    ax.plot([truth.min(), truth.max()], [truth.min(), truth.max()], color="k", lw=1)
    ax.set(xlabel=f"true {names[k].removeprefix('galaxies.')}", ylabel="estimated")
plt.show()

"""
Then the numbers: the error that 68 % of the lenses stay below, beside that of someone who answers with the middle of the
prior. And the coverage: how often the 68.3 % intervals hold the truth. Chapter 4 is about that second question.
"""

errors = calibration.accuracy.quantile_68.value
guesses = np.median(calibration.truths, axis=0)
guess_errors = np.percentile(np.abs(calibration.truths - guesses), 68.3, axis=0)
covered = calibration.coverage.value[0]

print(f"{'parameter':<30}{'error':>8}{'of prior':>10}{'gain':>7}{'coverage':>10}")
for k, name in enumerate(names):
    gain = guess_errors[k] / errors[k]
    print(
        f"{name.removeprefix('galaxies.'):<30}{errors[k]:>8.3f}{guess_errors[k]:>10.3f}"
        f"{gain:>6.1f}x{100 * covered[k]:>8.1f} %"
    )
print(f"over all parameters, 68.3 % intervals hold {100 * covered.mean():.1f} %")

"""
After one minute the Einstein radius is known ten times better than from the prior alone, the brightness and the sizes of
the sources hardly better than guessed. That is the order in which networks learn: first where the rings are, late how sharp
they are. The intervals hold about what they promise. A poor network that says so is useful; an overconfident one is not.

__What More Time Buys__

Train the same network for a ninth and for a third of the steps, from the same lenses, and extrapolate from three points, by
a power law, to the steps of a network that ships.
"""

radius_errors, trained_steps = [], [50, 150, 450]
for n_steps in trained_steps[:-1]:
    shorter = train(preset.changed(n_steps=n_steps), folder / f"steps-{n_steps}", cpu, sets=sets)
    found = evaluate(shorter, n=500, seed=0).calibration
    radius_errors.append(found.accuracy.quantile_68.value[radius])
radius_errors.append(errors[radius])

shipped = next(card for card in aml.networks("lens-parameters") if card.name == "euclid-sie")
shipped_error = shipped.metrics["error_68_einstein_radius"]["value"]
slope, offset = np.polyfit(np.log(trained_steps), np.log(radius_errors), 1)
law = np.exp(offset) * shipped.training["steps"] ** slope
print(f"errors: {', '.join(f'{error:.3f}' for error in radius_errors)} arcsec; power {slope:.2f}")
print(f"which promises {law:.3f} arcsec after {shipped.training['steps']:,} steps")
print(f"{shipped.name}, of {shipped.training['samples']:,} lenses: {shipped_error:.3f} arcsec")

"""
Three points on a line, and the line is wrong: the error of the shipped network lies far above it. Its lenses are harder,
with light of their own, shear and the structure of real galaxies, and noise sets an end to what can be known of any. So a
minute tells you whether a network learns at all, and not where it ends.

__Fitting with It__

A search takes the path of the network's folder. From fresh lenses we take the first one whose sources both shine clearly.
"""

unseen = aml.simulate(population, n=40, seed=77)
signal = np.max(unseen.planes / unseen.noise_maps[:, None], axis=(2, 3))
chosen = int(np.flatnonzero(np.sort(signal, axis=1)[:, -2] > 15.0)[0])
mask = al.Mask2D.circular(shape_native=balloon.shape, pixel_scales=0.14, radius=3.2)
dataset = unseen.imaging_from(chosen).apply_mask(mask=mask)
truth = dict(zip(population.names, unseen.parameters[chosen], strict=True))

network = aml.load_network(folder / "minute")
posterior = network.posterior_from(dataset)
print(f"concerns of the network: {posterior.concerns or 'none'}")

analysis = al.AnalysisImaging(dataset=dataset, use_jax=True)
results = {}
for name, start_from in {"minute": folder / "minute", "none": None}.items():
    search = aml.CNN(
        path_prefix="howtolens_ml",
        name=name,
        unique_tag="chapter_3",
        network=start_from,
        n_effective=500,
        seed=1,
    )
    results[name] = search.fit(model=model, analysis=analysis)
    info = results[name].samples.samples_info
    print(
        f"network {name}: {info['status']}, ln Z = {info['log_evidence']:.2f} "
        f"+- {info['log_evidence_error']:.2f}, {info['n_likelihood']:,} likelihoods, "
        f"{info['n_gradient']:,} gradients"
    )
fit = results["minute"].max_log_likelihood_fit
print(f"chi squared per pixel: {float(fit.chi_squared) / dataset.data.array.size:.2f}")

"""
The same evidence from both: the network has not bent the answer. It has not made it cheaper either. There are fewer
gradients, but more likelihoods; count a gradient as three of those, and the two are equal. For one easy lens you need no
network of a minute. Its posterior beside the corrected one:
"""

wanted = ("mass.einstein_radius", "near.light.centre.centre_0", "far.light.centre.centre_0")
aml.plot.corner(
    {"the network of a minute": posterior, "corrected": results["minute"].samples},
    "corner.png",
    parameters=[name for name in names if name.endswith(wanted)],
    truth=truth,
)
plt.figure(figsize=(7, 7))
plt.imshow(plt.imread("corner.png"))
plt.axis("off")
plt.show()

"""
The network has found the neighbourhood, and the likelihood the place.

__Exercise__

The balloon rises on a warm day, the mirror bends, and the PSF is twice as wide as planned. How do you notice, and what does
it do to the network's intervals? Simulate lenses with a PSF of 0.6" to 0.8", and ask for concerns and coverage.

The answer: the network says itself that the PSF is outside of its training, since it reads the width from your dataset. Its
posteriors are wrong by more than they say. A fit that starts from them may be slower, but not wrong: the likelihood has the
right PSF. The remedy is a training with the range that you have.
"""

warm = replace(balloon, psf_fwhm=(0.6, 0.8), psf_shape=None)
warm_lenses = aml.simulate(aml.Population(model, warm), n=300, seed=9)
warm_posteriors = network.posteriors_from([warm_lenses.imaging_from(i) for i in range(300)])
draws = np.stack([p.sample(300, seed=0)[:, radius] for p in warm_posteriors])
low, high = np.percentile(draws, [15.85, 84.15], axis=1)
true_radii = warm_lenses.parameters[:, list(population.names).index(names[radius])]
error = np.percentile(np.abs(np.median(draws, axis=1) - true_radii), 68.3)
inside = np.mean((low < true_radii) & (true_radii < high))

print(f"concern of the first lens: {'; '.join(warm_posteriors[0].concerns)}")
print(f"lenses with a concern: {np.mean([bool(p.concerns) for p in warm_posteriors]):.0%}")
print(f'error of the Einstein radius: {error:.3f}", was {errors[radius]:.3f}"')
print(f"68.3 % intervals hold {100 * inside:.1f} %, held {100 * covered[radius]:.1f} %")

"""
__Wrap Up__

You trained a network for a telescope and a model that nobody has trained for, from an `af.Model` and the numbers of an
instrument. You measured how good it is, what more time buys, and that a fit that starts from it is as exact as one without.

The next chapter asks in earnest whether a network knows how wrong it is.
"""
