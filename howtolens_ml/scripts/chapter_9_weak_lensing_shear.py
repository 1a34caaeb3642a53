"""
Chapter 9: Weak-Lensing Shear
=============================

Far from the centre of a lens there are no arcs, but every galaxy behind it is stretched by a few per cent. No single
galaxy shows it, because galaxies are elliptical anyway, ten times more than that. The average of a thousand shows it.

So what is asked of a shear estimator is unusual. It may be wrong by 25 % for every single galaxy, as long as the *average*
is right to a part in a thousand. The first network that one would write, trained to give the shear of a galaxy from its
image, fails at exactly this. In this chapter you see why, meet an estimator that does not, and fit a lens to its shears.

__Contents__

- **Galaxies:** Stamps with a known shear, and how little one sees of it.
- **One Galaxy Says Nothing:** The width of the answer.
- **The Obvious Network Is Biased:** Why regression shrinks.
- **A Calibrated Estimator:** Ellipticities, then a response.
- **Measuring a Bias:** m, c and the leakage of the PSF, by pairs.
- **A Lens from Shears:** An `al.WeakDataset` and its Einstein radius.
- **Conventions:** Signs, which ruin more shear catalogues than anything else.
- **Exercise:** A question, and its answer.
- **Wrap Up:** What to take home.
"""

import time

import autofit as af
import autolens as al
import matplotlib.pyplot as plt
import numpy as np
import torch

import autolens_ml as aml
from autolens_ml.networks.architectures import stored_network
from autolens_ml.simulate.shear_population import POPULATIONS
from autolens_ml.simulate.shear_stamps import StampRenderer
from autolens_ml.training.shear_bias import estimator_of, paired_sample

"""
__Galaxies__

A population of galaxies as Euclid's visible camera sees them: Sersics, bulges with discs, and cut-outs of the Hubble Deep
Field, each with an ellipticity of its own, a PSF that is not round, and noise. A shear acts on top of the galaxy's own
ellipticity.

We make the same galaxies three times, with the same noise: without shear, and with a shear of 0.1 along and across.
"""

population = POPULATIONS["euclid"]
renderer = StampRenderer(population)


def stamps_of(shears, seed):
    """Galaxies under given shears, complex numbers gamma_1 + i gamma_2, and their PSFs."""
    scenes = population.draw(len(shears), np.random.default_rng(seed))
    scenes = scenes.changed(shear=torch.from_numpy(np.asarray(shears, dtype=np.complex64)))
    stamps, psfs = renderer.stamps(scenes)
    return stamps.numpy(), psfs.numpy()


figure, axes = plt.subplots(3, 8, figsize=(13, 5), layout="constrained")
for row, (shear, label) in enumerate(
    ((0.0, "no shear"), (0.1, "0.1 along x"), (0.1j, "0.1 diagonal"))
):
    shown, _ = stamps_of(np.full(8, shear), seed=8)
    for ax, stamp in zip(axes[row], shown, strict=True):
        ax.imshow(np.arcsinh(stamp / (0.1 * stamp.max())), cmap="gray")
        ax.set(xticks=[], yticks=[])
    axes[row, 0].set_ylabel(label)
plt.show()

"""
If you can tell the rows apart you have good eyes, and 0.1 is a shear that one finds near the centres of clusters. Around
a galaxy it is ten times less.

__One Galaxy Says Nothing__

`aml.ShearEstimator` measures stamps. For every galaxy it gives two numbers, the components of the shear, and an error.
"""

estimator = aml.ShearEstimator("shear-euclid")
shear = 0.05
stamps, psfs = stamps_of(np.full(3000, shear), seed=1)

start = time.perf_counter()
measured = estimator.measure(stamps, psfs)
seconds = time.perf_counter() - start
print(f"{len(measured) / seconds:,.0f} galaxies per second")

plt.figure(figsize=(6, 3.6), layout="constrained")
plt.hist(measured.shear[:, 0], bins=60, color="#1f4e79")
plt.axvline(shear, color="#c0392b", label="true shear")
plt.xlabel("estimate of gamma_1 from one galaxy")
plt.legend()
plt.show()

"""
The histogram is wide, because it is mostly the galaxies' own shapes. The truth is a little to the right of its middle. The
mean of all, weighted by their errors:
"""

mean, error = measured.mean()
print(f"one galaxy: {measured.shear[0, 0]:+.3f} +- {measured.error[0]:.3f}")
print(f"all of them: {mean[0]:+.4f} +- {error[0]:.4f} (true {shear})")
print(f"the other component: {mean[1]:+.4f} +- {error[1]:.4f} (true 0)")

"""
__The Obvious Network Is Biased__

Train a network to give the shear from the image of one galaxy, with the squared error as its loss. What minimises the
squared error is the mean of the posterior. For one galaxy the data say next to nothing about its shear, so the posterior is
the prior, and its mean is near zero. Average those answers, and the average is near zero as well: no number of galaxies
helps.

You do not need to train it to see by how much it shrinks. If shears have a variance of s^2 in training, and the shape of a
galaxy adds a noise of variance n^2, the best linear answer is a fraction s^2 / (s^2 + n^2) of what is measured:
"""

noise = float(np.std(measured.shear[:, 0]))
for s in (0.02, 0.05, 0.2):
    print(
        f"shears of {s:.2f} in training: answers are {100 * s**2 / (s**2 + noise**2):.1f} % of the truth"
    )

"""
A network that regresses the shear has a multiplicative bias of tens of per cent, and the bias depends on the shears that
it was trained with. The preset `shear-naive` is such a network, so that the bias can be measured and not only argued.

__A Calibrated Estimator__

The way out is not to ask for the shear. `shear-euclid` estimates a property of the galaxy that the data do constrain: its
ellipticity after shear, freed of the PSF, with an error. That also shrinks where a galaxy is faint, but in a way that can
be measured: simulate galaxies, shear the same galaxies by a little more, and see by how much the answer changes. That
ratio, the *response*, divides the estimate. It was learned after training, from galaxies that were sheared by hand, and
it is stored with the weights.

Its prior never contains a shear, so nothing pulls towards one.

__Measuring a Bias__

The field states biases as m and c: the mean estimate is (1 + m) times the true shear plus c, and for surveys |m| has to be
a few parts in a thousand. To measure a part in a thousand through a shape noise of 25 % one would need 60,000 galaxies for
each thousandth squared... unless one cheats, as everybody does: use the *same* galaxy with the same noise twice, sheared
either way, and once more turned by 90 degrees. Its own shape then cancels.
"""

sample = paired_sample(estimator_of(stored_network(estimator.card)), population, 3000, seed=2)
bias = sample.bright().bias()
print("galaxies of signal-to-noise above 20:")
for name, value in bias.as_dict().items():
    if isinstance(value, dict):
        print(f"  {name:<8} {value['value']:+.4f} ({value['low']:+.4f} to {value['high']:+.4f})")

"""
alpha is the leakage of the PSF: how much of the PSF's own ellipticity is in the shears. Turn the telescope, and the bias
turns with it, so it is the one that a survey fears most.

The card of the network has the same numbers from many more galaxies:
"""

for name, metric in estimator.card.metrics.items():
    print(f"{name:<28} {metric['value']:+.5f} ({metric['low']:+.5f} to {metric['high']:+.5f})")

"""
And the biases as functions of the signal-to-noise and the size of the galaxies, because an average over a population can
hide two errors of opposite sign:
"""

figure, axes = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
for ax, by, words in zip(
    axes,
    ("signal_to_noise", "radius"),
    ("signal-to-noise", "half-light radius / PSF FWHM"),
    strict=True,
):
    for low, high, binned in sample.binned(by):
        m = binned.m
        ax.errorbar(np.sqrt(low * high), m.value, yerr=m.error, fmt="o", color="#1f4e79")
    ax.axhline(0.0, color="k", lw=0.8)
    ax.set_xscale("log")
    ax.set_xlabel(words)
    ax.set_ylabel("m")
plt.show()

"""
__A Lens from Shears__

Now the purpose of it all. A massive lens, five hundred galaxies behind it, and their stamps. PyAutoLens tells us the shear
at each place.
"""

lens = al.Galaxy(redshift=0.3, mass=al.mp.IsothermalSph(einstein_radius=6.0))
tracer = al.Tracer(galaxies=[lens, al.Galaxy(redshift=1.0)])

rng = np.random.default_rng(1)
radius = np.sqrt(rng.uniform(20.0**2, 60.0**2, 500))
angle = rng.uniform(0.0, 2.0 * np.pi, 500)
positions = np.stack((radius * np.sin(angle), radius * np.cos(angle)), axis=-1)

simulator = al.SimulatorShearYX(noise_sigma=0.0, reduced=True)
gamma_2, gamma_1 = np.asarray(
    simulator.via_tracer_from(tracer, al.Grid2DIrregular(positions)).shear_yx
).T
stamps, psfs = stamps_of(gamma_1 + 1j * gamma_2, seed=11)

dataset = estimator.dataset_from(stamps, psfs, positions, redshifts=np.full(500, 1.0))
print(type(dataset).__name__, len(np.asarray(dataset.noise_map)), "galaxies")

tangential = -(
    np.asarray(dataset.shear_yx)[:, 1] * np.cos(2 * angle)
    + np.asarray(dataset.shear_yx)[:, 0] * np.sin(2 * angle)
)
plt.figure(figsize=(6, 3.8), layout="constrained")
edges = np.linspace(20.0, 60.0, 6)
for low, high in zip(edges[:-1], edges[1:], strict=True):
    inside = (radius >= low) & (radius < high)
    plt.errorbar(
        0.5 * (low + high),
        tangential[inside].mean(),
        yerr=tangential[inside].std() / np.sqrt(inside.sum()),
        fmt="o",
        color="#1f4e79",
    )
line = np.linspace(20.0, 60.0, 50)
plt.plot(line, 0.5 * 6.0 / line / (1.0 - 0.5 * 6.0 / line), color="#c0392b", label="true lens")
plt.xlabel("radius (arcsec)")
plt.ylabel("tangential shear")
plt.legend()
plt.show()

"""
The dataset is an `al.WeakDataset`, so the rest is PyAutoLens as you know it: a model, `al.AnalysisWeak`, and a search.
"""

model = af.Collection(
    galaxies=af.Collection(
        lens=af.Model(
            al.Galaxy,
            redshift=0.3,
            mass=af.Model(
                al.mp.IsothermalSph,
                centre=(0.0, 0.0),
                einstein_radius=af.UniformPrior(lower_limit=0.0, upper_limit=20.0),
            ),
        ),
        source=al.Galaxy(redshift=1.0),
    )
)
search = aml.CNN(
    path_prefix="howtolens_ml", name="weak", unique_tag="chapter_9", network=None, seed=1
)
result = search.fit(model=model, analysis=al.AnalysisWeak(dataset=dataset))

samples = result.samples
low = samples.values_at_lower_sigma(sigma=1.0).galaxies.lens.mass.einstein_radius
high = samples.values_at_upper_sigma(sigma=1.0).galaxies.lens.mass.einstein_radius
median = samples.median_pdf().galaxies.lens.mass.einstein_radius
print(f"status: {samples.samples_info['status']}")
print(f"Einstein radius: {median:.2f} ({low:.2f} to {high:.2f}) arcsec; true 6.00")
off = abs(median - 6.0) / (0.5 * (high - low))
print(f"that is {off:.1f} sigma from the truth")

"""
__Conventions__

A shear has a sign for each component, an image has a direction in which its rows count, and catalogues differ in both.
Here rows of a stamp go from +y down to -y, as in PyAutoLens, so row 0 is the top. Read the stamps upside down, and the
second component changes its sign:
"""

up = estimator.measure(stamps[:50], psfs[:50]).shear
down = estimator.measure(stamps[:50, ::-1].copy(), psfs[:50, ::-1].copy()).shear
print(f"gamma_1 changes by at most {np.abs(up[:, 0] - down[:, 0]).max():.1e}")
print(f"gamma_2 changes its sign to within {np.abs(up[:, 1] + down[:, 1]).max():.1e}")

"""
With one of the signs wrong the lens would not be there: its galaxies would be stretched along the radius in two of four
quadrants.

__Exercise__

How many galaxies does it take to see the lens at three sigma? Guess from the error above, and then fit the first 100.

The answer: the error goes with one over the root of the number. If 500 galaxies give an error of e, then n galaxies give
e times the root of 500 / n, and three sigma are reached where that is a third of the Einstein radius.
"""

needed = 500 * (0.5 * (high - low) / (6.0 / 3.0)) ** 2
few = estimator.dataset_from(stamps[:100], psfs[:100], positions[:100], np.full(100, 1.0))
search = aml.CNN(
    path_prefix="howtolens_ml", name="few", unique_tag="chapter_9", network=None, seed=1
)
few_samples = search.fit(model=model, analysis=al.AnalysisWeak(dataset=few)).samples
few_low = few_samples.values_at_lower_sigma(sigma=1.0).galaxies.lens.mass.einstein_radius
few_high = few_samples.values_at_upper_sigma(sigma=1.0).galaxies.lens.mass.einstein_radius
print(f"three sigma need about {needed:.0f} galaxies")
print(
    f"error with 100: {0.5 * (few_high - few_low):.2f}, expected {0.5 * (high - low) * 5**0.5:.2f}"
)

"""
__Wrap Up__

You measured shears with a network whose mean is right, checked that it is, and found a lens in galaxies that show nothing
one by one. And you know why the obvious network fails, which is worth remembering whenever somebody averages the outputs
of a regression.
"""
