"""
Chapter 8: Dark-Matter Morphology and Anomalies
===============================================

What dark matter is made of decides how it clumps. If it is cold, a halo is full of subhaloes. If it is a superfluid, which
very light particles would make, there are none of them, but vortices: lines along which it turns. Both are dark, and both
bend the light of a source a little more than the smooth halo does.

"A little" is the matter of this chapter. You look at what substructure does to an image, and at what is left of it once a
smooth lens has done its best to hide it. Then three judges look at lenses that none of them has seen: a classifier that
learned from labels, an autoencoder that only ever saw ordinary lenses, and the chi-squared of the best smooth fit, which
has learned nothing. In the end one lens goes to the only court that counts, the evidence.

__Contents__

- **What Substructure Does:** One lens three times: smooth, with subhaloes, with a vortex.
- **What a Smooth Lens Hides:** Most of it.
- **Held-Out Lenses:** Observed with noise, and fitted.
- **A Classifier:** Confusion, and areas with their intervals.
- **The Baseline of a Physicist:** A chi-squared.
- **An Autoencoder:** It was never told what is strange.
- **Where It Is Strange:** Heat maps.
- **How Light May It Be:** The test that is hard.
- **The Evidence:** From a flag to two fits, in one command.
- **Exercise:** A question, and its answer.
- **Wrap Up:** What to take home.
"""

from dataclasses import replace
from pathlib import Path

import autolens as al
import matplotlib.pyplot as plt
import numpy as np
import torch
from astropy.io.fits import HDUList, ImageHDU, PrimaryHDU
from scipy.stats import rankdata

from autolens_ml.networks.architectures import stored_network
from autolens_ml.networks.checkpoint import find_card
from autolens_ml.plot.morphology_plots import heat_map_plot
from autolens_ml.simulate.morphology.lensing import MACRO
from autolens_ml.simulate.morphology.settings import masses_from
from autolens_ml.simulate.morphology.smooth_fit import smooth_fit_for
from autolens_ml.simulate.morphology.systems import CLASSES, MorphologyPopulation
from autolens_ml.training.anomaly_accuracy import network_scores
from autolens_ml.training.detection import area_under_curve, roc_from, share_from
from autolens_ml.training.morphology_accuracy import (
    bootstrapped,
    observed_batches,
    scored,
    smooth_fits,
)

"""
__What Substructure Does__

The lenses are those of the setting `model-i`: a halo of 10^12 solar masses, an exponential source, pixels of 0.1", and no
light of the lens. A third of them has no substructure, a third has subhaloes, a third one vortex.
"""

population = MorphologyPopulation("model-i", held_out=True)
setting, instrument = population.setting, population.setting.instrument
made = observed_batches(population, 128, seed=8)
systems = made[0][0]
share, (low, high) = 100.0 * setting.subhalo_share[0], 100.0 * np.array(setting.vortex_share)
print(f"subhaloes hold {share:.1f} % of the halo's mass, a vortex {low:.1f} to {high:.1f} %")

"""
We take one of them and make it three times: smooth, with the subhaloes of one lens and with the vortex of another one. It
must weigh the same each time, or the ring would tell by its size alone. Masses go with the squares of Einstein radii, so
the halo gives up what the substructure holds.
"""

subhaloes = systems.points[np.flatnonzero(systems.classes == 1)[0]]
vortex = systems.strings[np.flatnonzero(systems.classes == 2)[0], :1]
smooth = systems.macro[np.flatnonzero(systems.classes == 0)[0]]
radius = MACRO.index("einstein_radius")


def image_with(points, strings):
    """The lens with such substructure, without noise, in units of the noise of an empty pixel."""
    macro = smooth.copy()
    held = np.sum(points[:, -1] ** 2) + np.sum(strings[:, -1] ** 2)
    macro[radius] = np.sqrt(macro[radius] ** 2 - held)
    arrays = (each[None] for each in (macro, points, strings))
    images = population.lens_images.images_from(*arrays, systems.psf_fwhm[:1])
    return images[0] / population.unit


nothing = subhaloes[:0], vortex[:0]
held = {"smooth": nothing, "subhaloes": (subhaloes, nothing[1]), "vortex": (nothing[0], vortex)}
images = {name: image_with(*each) for name, each in held.items()}
n_subhaloes = np.count_nonzero(subhaloes[:, -1])
mass = masses_from(subhaloes[:, -1])
print(f"{n_subhaloes} subhaloes of {mass[mass > 0].min():.1e} to {mass.max():.1e} solar masses")
print(f'a vortex of {masses_from(vortex[0, -1]):.1e} solar masses, {2 * vortex[0, 3]:.2f}" long')

extent = 0.5 * instrument.pixel_scale * np.array([-1.0, 1.0, -1.0, 1.0]) * instrument.shape[0]
middle = slice(8, -8)


def draw_substructure(ax, points, strings, color):
    """Crosses for subhaloes, the larger the heavier, and a line for the vortex."""
    for y, x, size in points[points[:, -1] > 0.0]:
        ax.plot(x, y, "+", color=color, ms=3.0 + 60.0 * size, mew=0.9)
    for y, x, angle, half_length, *_ in strings:
        phi, ends = np.radians(angle), np.array([-half_length, half_length])
        ax.plot(x + ends * np.cos(phi), y + ends * np.sin(phi), color=color, lw=1.5)


figure, axes = plt.subplots(1, 3, figsize=(12, 4), layout="constrained")
for ax, (name, image) in zip(axes, images.items(), strict=True):
    ax.imshow(np.arcsinh(image / 3.0), extent=extent)
    draw_substructure(ax, *held[name], "w")
    ax.set(title=name, xlim=(-2.8, 2.8), ylim=(-2.8, 2.8), xlabel="x (arcsec)")
axes[0].set_ylabel("y (arcsec)")
plt.show()

"""
Four per cent of the mass, and the three look the same. Substructure is not something that one sees in a picture; it is
something that one measures.

__What a Smooth Lens Hides__

What one can do is to fit a smooth lens. It has twelve parameters, and it uses them all to look like what it is not: the
centre of the source moves, the shear changes, the source gets longer. Above is the difference from the true smooth lens,
below that from the smooth lens that fits best. There is no noise in these pictures; they are in units of it.
"""

stack = np.stack(list(images.values()))
noise = np.sqrt(1.0 + np.maximum(stack, 0.0) / (population.unit * population.exposure_time))
fit = smooth_fit_for(instrument)
best = fit.fit(stack, noise, np.repeat(systems.psf_fwhm[:1], 3))

panels = (("true smooth lens", 6.0), ("best smooth fit", 2.0))
figure, axes = plt.subplots(2, 2, figsize=(9, 8), layout="constrained", sharex=True, sharey=True)
for column, name in enumerate(("subhaloes", "vortex")):
    row = list(images).index(name)
    rows = ((images[name] - images["smooth"]) / noise[row], best.residuals[row])
    for line, residual, (what, top) in zip(axes, rows, panels, strict=True):
        shown = line[column].imshow(residual, extent=extent, cmap="RdBu_r", vmin=-top, vmax=top)
        draw_substructure(line[column], *held[name], "0.3")
        line[column].set(title=f"{name}, minus the {what}", xlim=(-2.8, 2.8), ylim=(-2.8, 2.8))
        if column:
            figure.colorbar(shown, ax=line, label="in units of the noise", shrink=0.8)
    whole, left = (np.sum(residual**2) for residual in rows)
    print(f"{name:<9} squares of the difference from the true smooth lens add up to {whole:.0f},")
    print(f"{'':<9} from the best smooth fit to {left:.0f}, {100 * left / whole:.0f} % of it")
plt.show()

"""
Mind the scales: in the lower row colours are three times as strong. Most of what substructure does, a smooth lens can do as
well, and what is left is less than the noise of nearly every pixel. But it is in hundreds of pixels at once, and in a
pattern. So the network of this chapter is given two pictures of each lens: the image, and what the best smooth lens leaves.

__Held-Out Lenses__

The 128 lenses that were made above are new: their random numbers are kept apart from those of any training set. Each has an
exposure time of its own, and noise. We fit a smooth lens to each, as one would with real ones, knowing nothing.
"""


def fitted(systems, batch):
    """Lenses with what the best smooth fits leave of them, and the chi-squared of these."""
    found = smooth_fits(batch, instrument)
    left = replace(batch, residuals=torch.from_numpy(found.residuals).float())
    return (systems, left), found.arc_chi_squared(batch.noise.numpy())


seen, chi_squared = zip(*(fitted(*each) for each in made), strict=True)
chi_squared = np.concatenate(chi_squared)
truth = np.concatenate([each.classes for each, _ in made])
strange = truth > 0
print({name: int(np.sum(truth == i)) for i, name in enumerate(CLASSES)})

figure, axes = plt.subplots(2, 6, figsize=(14, 5), layout="constrained")
for i in range(6):
    # Two of each class.
    row = np.flatnonzero(systems.classes == i // 2)[i % 2]
    axes[0, i].imshow(np.arcsinh(seen[0][1].images[row] / 3.0)[middle, middle])
    residual = seen[0][1].residuals[row][middle, middle]
    axes[1, i].imshow(residual, cmap="RdBu_r", vmin=-5, vmax=5)
    axes[0, i].set_title(CLASSES[i // 2])
    for ax in axes[:, i]:
        ax.set(xticks=[], yticks=[])
axes[0, 0].set_ylabel("observed")
axes[1, 0].set_ylabel("minus smooth fit")
plt.show()

"""
Would you have known? The lower row tells more than the upper one.

__A Classifier__

`morphology-i` gives three probabilities. Its card says what it learned from; vortices there are as light as 1.2 % of the
halo, so that it has met harder cases than those of this setting. Rows are what lenses are, columns what they are called.
"""

card = find_card("morphology-i")
classifier = stored_network(card)
scores = scored(classifier, seen)
print(f"trained on {card.training['samples']:,} lenses, {card.n_parameters:,} weights")
print("                " + "".join(f"{name:>8}" for name in CLASSES))
for name, row in zip(CLASSES, scores.confusion(), strict=True):
    print(f"{name:<16}" + "".join(f"{number:>8}" for number in row))


def words(figure):
    """A figure with its 95 % interval."""
    return f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"


for name in CLASSES:
    print(f"AUC of {name:<8} against the others: {words(scores.area(name))}")

"""
An AUC is the chance that of two lenses, one of the class and one not, the right one has the higher score. The interval is
of a bootstrap: lenses are drawn again, with repetition, 400 times. One from 1.000 to 1.000 does not say that the network is
perfect, but that 128 lenses are too few to see its mistakes: a bootstrap cannot draw one that did not happen.

Numbers so near to one deserve a second look, always. Here the noise is known, the source is always a Sersic profile, the
smooth lens is of the family that is fitted, and every vortex is heavy. What was measured is how well the network does *in
this setting*. The rest of the chapter is about what that hides.

__The Baseline of a Physicist__

The smooth fit has a chi-squared already. Its mean in the pixels of the arcs is one if the lens is smooth, and above one
otherwise. There is nothing to train, and everybody would try it first; a network that does not beat it is not needed.
"""

for i, name in enumerate(CLASSES):
    low, median, high = np.percentile(chi_squared[truth == i], [16, 50, 84])
    print(f"{name:<8} chi-squared per pixel of the arcs: {median:.2f} ({low:.2f} to {high:.2f})")
print(f"AUC of chi-squared: {words(bootstrapped(area_under_curve, chi_squared, strange))}")
log_odds = scores.suspicion
print(f"AUC of the classifier: {words(bootstrapped(area_under_curve, log_odds, strange))}")

"""
So most of it was in the chi-squared already, and the network adds the rest: the pattern of residuals below the noise, which
a sum of squares drowns. It also says what is there, subhaloes or a vortex; chi-squared says only that something is.

__An Autoencoder__

Labels are a luxury. If nobody knows what dark matter does, nobody can simulate it, and a classifier finds only what it was
taught. `anomaly-vae` was shown lenses without substructure and nothing else. It learned to squeeze them through 24 numbers;
what does not fit through comes out wrong, and the error is the score.
"""

autoencoder = stored_network(find_card("anomaly-vae"))
error = np.concatenate([network_scores(autoencoder, batch)["error"] for _, batch in made])
print(f"AUC of the autoencoder: {words(bootstrapped(area_under_curve, error, strange))}")

judges = {
    "classifier (labels)": log_odds,
    "chi-squared (no training)": chi_squared,
    "autoencoder (no labels)": error,
}
colors = ("#1f4e79", "#d68910", "#c0392b")
plt.figure(figsize=(6, 4.2), layout="constrained")
for color, (name, score) in zip(colors, judges.items(), strict=True):
    # The curve is of the order alone.
    false, true = roc_from(rankdata(score) / len(score), strange)
    area = bootstrapped(area_under_curve, score, strange)["value"]
    plt.step(false, true, where="post", color=color, label=f"{name}: {area:.3f}")
plt.xlabel("false positive rate")
plt.ylabel("true positive rate")
plt.legend(title="AUC", loc="lower right")
plt.show()

"""
__Where It Is Strange__

A number per lens is not much to go on. The autoencoder also says where: what it would have expected, and the difference from
what is there, smoothed, in units of the noise. The truth is drawn on top, which it has never seen.
"""

path = heat_map_plot(autoencoder, *made[0], instrument.pixel_scale, Path("heat.png"))
plt.figure(figsize=(9, 8.6))
plt.imshow(plt.imread(path))
plt.axis("off")
plt.show()

"""
Two warnings. The first row has nothing in it, and its map is not empty: an autoencoder makes errors of its own where arcs
are bright, which is why its score had to be compared with those of ordinary lenses. And maps are bright where arcs are, not
where the mass is. A vortex in the dark middle shows in the arcs around it. A heat map tells you which arc to look at; where
the mass is, a model has to say.

__How Light May It Be__

Heavy vortices were easy for everybody. The question of an observer is another one: how light may a vortex be, until nobody
sees it? We draw 64 of them with 0.2 to 6 % of the mass of the halo. The thresholds are what one in twenty of the smooth
lenses above exceeds. (One in a hundred would be better, but with 43 smooth lenses it cannot be measured.)
"""

light = MorphologyPopulation(setting.changed(vortex_share=(0.002, 0.06)), {"vortex": 1.0})
lenses, light_chi_squared = fitted(*observed_batches(light, 64, seed=9)[0])
light_scores = scored(classifier, [lenses])
of_light = {
    "classifier (labels)": light_scores.suspicion,
    "chi-squared (no training)": light_chi_squared,
    "autoencoder (no labels)": network_scores(autoencoder, lenses[1])["error"],
}
percent = 100.0 * light_scores.mass / setting.halo_mass
bins = np.array_split(np.argsort(percent), 4)
means = np.array([percent[rows].mean() for rows in bins])
print(f"{'mean share of the halo':<26}" + "".join(f"{each:6.1f} %" for each in means))

plt.figure(figsize=(6.6, 4.2), layout="constrained")
for i, (color, (name, score)) in enumerate(zip(colors, of_light.items(), strict=True)):
    is_found = score > np.quantile(judges[name][truth == 0], 0.95)
    shares = [share_from(is_found[rows]) for rows in bins]
    value, low, high = np.array([[s["value"], s["low"], s["high"]] for s in shares]).T
    x, bounds = means * 1.03 ** (i - 1), [value - low, high - value]
    plt.errorbar(x, value, bounds, fmt="o-", ms=4, lw=1.2, color=color, label=name)
    print(f"{name:<26}" + "".join(f"{100 * each:6.0f} %" for each in value))
plt.axhline(0.05, color="0.6", lw=0.8, ls="--")
plt.xscale("log")
plt.xticks([0.3, 0.5, 1, 2, 4], ["0.3", "0.5", "1", "2", "4"], minor=False)
plt.minorticks_off()
plt.xlabel("mass of the vortex (% of the halo)")
plt.ylabel("share found at 5 % false positives")
plt.legend()
plt.show()

"""
There are 16 lenses in each quarter of the vortices, so the bars of 95 % are long. But in the third quarter those of the
classifier and of the others do not overlap: it sees vortices of half the mass that the others need. And the lightest quarter
is nearly lost to all of them. A curve like this belongs beside every AUC: 0.998 and 19 % are of the same network.

__The Evidence__

A flag is no discovery. Suppose that one lens in ten has a vortex, and that a network finds all of those, with 5 % false
positives: then of 100 lenses 10 are flagged rightly and 4 or 5 wrongly, and a third of what you publish is not there. What
settles it is a fit of both models, with a likelihood that knows the noise, and priors that say what was possible.

We take the vortex that the classifier is most certain of, and write it as a file, as it would come from a telescope.
"""

row = int(np.argmax(np.where(systems.classes == 2, scores.probabilities[: len(systems), 2], 0)))
p = scores.probabilities[row]
print("probabilities: " + ", ".join(f"{n} {v:.3f}" for n, v in zip(CLASSES, p, strict=True)))
print(f"true mass of its vortex: {systems.substructure_mass[row]:.2e} solar masses")

batch, scale = made[0][1], instrument.pixel_scale
sigma = float(systems.psf_fwhm[row]) / 2.3548
psf = al.Convolver.from_gaussian(
    shape_native=(11, 11), sigma=sigma, pixel_scales=scale, normalize=True
)
images = {"DATA": batch.images[row], "NOISE_MAP": batch.noise[row], "PSF": psf.kernel.native}
units = [PrimaryHDU()]
for name, values in images.items():
    units.append(ImageHDU(np.asarray(values, dtype=float), name=name))
    units[-1].header["PIXSCALE"] = scale
HDUList(units).writeto("flagged.fits", overwrite=True)

"""
From there it is one command, which takes minutes and is therefore not run here:

    autolens-ml morphology report flagged.fits --fit

It fits the lens by `aml.CNN` with a vortex and without, prints the difference in ln evidence, the mass, and how the fits
ended. Read that last word before you believe a number: a vortex has a length, a direction and a place that the data hardly
fix, and a fit that ends with FAILED has no evidence to compare, however large the difference looks. A Bayes factor for a
paper needs two fits that end with CONVERGED, with a larger `max_likelihood_calls` or by a nested sampler such as
`af.Nautilus`. Until then a flag is a lead.

__Exercise__

All sources so far were Sersic profiles, in training too, and real galaxies have arms and knots. Take lenses without
substructure whose sources are galaxies of the Hubble Deep Field. How many does the classifier call smooth? And who is at
fault, the network or the fit?
"""

galaxies = MorphologyPopulation(
    setting.changed(stamps="hubble-deep-field", source_radius=(0.2, 0.5)), {"no_sub": 1.0}, True
)
lenses, over = fitted(*observed_batches(galaxies, 12, seed=10)[0])
p = scored(classifier, [lenses]).probabilities
called = np.bincount(p.argmax(axis=1), minlength=3).tolist()
print(f"12 smooth lenses are called: {dict(zip(CLASSES, called, strict=True))}")
ordinary = chi_squared[truth == 0]
n_over = np.sum(over > np.quantile(ordinary, 0.95))
print(f"{n_over} of 12 have a chi-squared above the limit of 5 % false positives")
print(f"median chi-squared: {np.median(over):.1f}, of Sersic sources {np.median(ordinary):.2f}")

"""
The answer is in the numbers: what is wrong with the source looks like something wrong with the mass. Both are at fault,
because neither has ever heard of galaxies with arms. A network for real lenses must be trained on real sources, and a fit of
real lenses needs sources that are as free as they are: that is what chapter 6 is for.

__Wrap Up__

You saw what substructure does, that a smooth lens hides most of it, and what three judges make of the rest. You measured
them where it is easy, where it is hard and where they were never meant to be used. And you know where a flag belongs: in
front of two fits. On the command line all of this is `autolens-ml morphology report lenses/ --fit`.
"""
