"""
Chapter 4: Uncertainty
======================

A network that gives a number is easy to make. A network that gives a number *and knows how wrong it is* is what science
needs, and whether it knows can be measured. This chapter is about those measurements.

You take a network that ships with the package, give it lenses whose truth is known, and ask: do its 68 % intervals hold
the truth 68 % of the time? You then break it on purpose in three ways, and see how each break looks in the diagnostics. In
the end you let the likelihood correct the network, which makes the question go away.

__Contents__

- **Lenses with Known Truth:** From the population that the network was trained on.
- **Posteriors:** Hundreds of them, in seconds.
- **Errors and Widths:** How wrong it is, and how wrong it thinks it is.
- **Coverage:** How often intervals hold the truth.
- **Ranks:** Simulation-based calibration, one histogram per parameter.
- **TARP:** All parameters at once.
- **Three Bad Networks:** Overconfident, underconfident, biased: what it looks like.
- **Importance Sampling:** The likelihood corrects.
- **Exercise:** A question, and its answer.
- **Wrap Up:** What to take home.
"""

import time
from pathlib import Path

import autofit as af
import autolens as al
import autolens.plot as aplt
import matplotlib.pyplot as plt
import numpy as np

import autolens_ml as aml
from autolens_ml.applications.fit.demo import DEMO_FITS
from autolens_ml.simulate.description import population_from
from autolens_ml.training.calibration import calibration_from
from autolens_ml.training.lens_set import target_columns
from autolens_ml.training.preset import preset_from

"""
__Lenses with Known Truth__

`euclid-sie` is a network for isothermal lenses with shear, the light of the lens and a source, in Euclid's visible band.
Its card says what it was trained on, down to the priors, so we can draw new lenses from the same population. It has never
seen these.
"""

network = aml.load_network("euclid-sie")
print(network.card.description)
print(f"trained on {network.card.training['samples']:,} lenses")

population = population_from(network.card.outputs["population"])
lenses = aml.simulate(population, n=400, seed=4)
datasets = [lenses.imaging_from(i) for i in range(len(lenses))]

figure, axes = plt.subplots(1, 4, figsize=(15, 3.6), layout="constrained")
for ax, dataset in zip(axes, datasets, strict=False):
    vmax = float(np.percentile(dataset.data.array, 99.7))
    aplt.plot_array(array=dataset.data, ax=ax, title="", vmin=0.0, vmax=vmax, cb_unit="")

"""
Some are bright, some are hardly there. A network that is used on a survey meets both.

__Posteriors__

One pass of the network per lens gives a whole posterior: a mixture of Gaussians in a space in which the prior is a unit
normal, so that no probability leaks out of the prior.
"""

start = time.perf_counter()
posteriors = network.posteriors_from(datasets)
seconds = time.perf_counter() - start
print(f"{len(posteriors)} posteriors in {seconds:.1f} s, images resampled and all")

names = [name for name in network.names if ".mass." in name or ".shear." in name]
columns = [network.names.index(name) for name in names]
short = [name.split(".")[-1] for name in names]
draws = np.stack([posterior.sample(500, seed=0)[:, columns] for posterior in posteriors])

# Parameters of a model are matched by their paths; one prior may have several.
column_of = target_columns(population.model, network.names)
truths = lenses.parameters[:, [column_of[name] for name in names]]
print(f"draws: {draws.shape} (lenses, draws, parameters)")

"""
__Errors and Widths__

First the simplest plot that there is: the estimate against the truth, with the error that the network states. It is also
the plot that hides most, because the eye forgives error bars.
"""

medians = np.median(draws, axis=1)
lower, upper = np.percentile(draws, [15.85, 84.15], axis=1)

j = short.index("einstein_radius")
figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
for ax, k in zip(axes, (j, short.index("gamma_1")), strict=True):
    error = [medians[:, k] - lower[:, k], upper[:, k] - medians[:, k]]
    ax.errorbar(truths[:, k], medians[:, k], yerr=error, fmt=".", ms=3, lw=0.6, alpha=0.6)
    ends = [truths[:, k].min(), truths[:, k].max()]
    ax.plot(ends, ends, color="k", lw=1)
    ax.set_xlabel(f"true {short[k]}")
    ax.set_ylabel("estimated")
plt.show()

errors = np.abs(medians - truths)
widths = 0.5 * (upper - lower)
print(f"{'parameter':<18}{'68 % of errors':>16}{'median width':>14}")
for k, name in enumerate(short):
    print(f"{name:<18}{np.percentile(errors[:, k], 68.3):>16.4f}{np.median(widths[:, k]):>14.4f}")

"""
The Einstein radius is known well, the shear hardly: for single, noisy lenses, most of what the network says about shear
is its prior. The stated widths are of the size of the errors. Are they *right*?

__Coverage__

If the posterior is right, then of all lenses 68.3 % have their truth inside the central 68.3 % interval, whatever the shape
of the posteriors. Count them. Nothing could be simpler, and few papers do it.
"""

inside = (truths > lower) & (truths < upper)
error = np.sqrt(0.683 * 0.317 / len(truths))
for k, name in enumerate(short):
    share = inside[:, k].mean()
    print(f"{name:<18}{100 * share:6.1f} %  ({(share - 0.683) / error:+.1f} sigma from 68.3 %)")

"""
With 400 lenses the share is itself uncertain by 2.3 per cent. Differences of two of those are noise; a difference of four
is not, and says that the widths of that parameter are not those of the errors. The card of the network has the same
numbers from 4,000 lenses.

`calibration_from` does this for all levels, and everything that follows.
"""

calibration = calibration_from(draws, truths, short, seed=0)


def shown(path, width=9.0):
    """Show a figure that was saved."""
    image = plt.imread(path)
    plt.figure(figsize=(width, width * image.shape[0] / image.shape[1]))
    plt.imshow(image)
    plt.axis("off")
    plt.show()


shown(aml.plot.coverage_plot(calibration, Path("coverage.png")), 12.0)

"""
The diagonal is perfect. The band is where a perfect network would be 99 % of the time, given 400 lenses. Above the
diagonal intervals hold too much (underconfident), below it too little (overconfident).

__Ranks__

Coverage looks at intervals around the median. *Ranks* look at everything: take the draws of a lens, and count how many are
below the truth. If truth and draws come from the same distribution, every rank is as likely as any other, and the
histogram over lenses is flat. This is simulation-based calibration. A hump in the middle is a posterior that is too wide,
horns at the ends one that is too narrow, a slope one that is biased.
"""

shown(aml.plot.sbc_plot(calibration, Path("ranks.png")), 12.0)

"""
__TARP__

Each parameter by itself may look right while their correlations are wrong. TARP draws a random reference point for each
lens, and asks what share of the draws is nearer to it than the truth is. Those shares must be uniform as well, and now all
parameters enter at once.
"""

shown(aml.plot.tarp_plot(calibration, Path("tarp.png")), 6.0)
print(calibration.verdict)

"""
__Three Bad Networks__

You should know a broken network when you see one. We make three from the draws of the good one: one whose posteriors are
shrunk to 60 %, one whose posteriors are stretched to 160 %, and one that is off by half a sigma.
"""

centre = draws.mean(axis=1, keepdims=True)
spread = draws.std(axis=1, keepdims=True)
broken = {
    "overconfident": centre + 0.6 * (draws - centre),
    "underconfident": centre + 1.6 * (draws - centre),
    "biased": draws + 0.5 * spread,
}

figure, axes = plt.subplots(1, 3, figsize=(13, 3.6), layout="constrained", sharey=True)
for ax, (label, bad) in zip(axes, broken.items(), strict=True):
    found = calibration_from(bad, truths, short, seed=0)
    ax.hist(found.ranks[:, j], bins=15, range=(0, 1), density=True, color="#1f4e79")
    ax.axhline(1.0, color="k", lw=1)
    ax.set_title(label)
    ax.set_xlabel("rank of the true Einstein radius")
    covered = found.coverage.value[0].mean()
    print(f"{label:<16} 68.3 % intervals hold {100 * covered:.1f} %; {found.joint_verdict} jointly")
    print(f"                 Einstein radius: {found.verdicts['einstein_radius']}")
plt.show()

"""
Each has its signature. Note that none of these plots needs a likelihood: they need simulations, which is why you can, and
should, do this for every network that you use.

They have a blind spot as well. Calibration is an average over a population. A network that ignored the image and always
answered with the prior would be calibrated perfectly. So look at widths and coverage *together*: a good network is
calibrated, and narrow.
"""

# The true parameters of the lenses are draws of the prior.
prior_width = 0.5 * np.diff(np.percentile(truths, [15.85, 84.15], axis=0), axis=0)[0]
for k, name in enumerate(short):
    print(
        f"{name:<18} posterior width over prior width: {np.median(widths[:, k]) / prior_width[k]:.3f}"
    )

"""
__Importance Sampling__

Now the other way to be right. You have the likelihood of your data, so you need not believe the network at all: weigh its
draws by posterior over proposal, and the weighted draws are exact, if there are enough with weight.

How many is that, if we do it naively? We need a lens whose model has exactly the parameters of the network, so we take a
bright one of a simpler population, with one Sersic each for lens and source, and weigh the network's own draws. The
effective sample size, the square of the sum of the weights over the sum of their squares, says how many draws are left.
"""

plain = population_from(preset_from("euclid-sersic").data["population"])
plain_lenses = aml.simulate(plain, n=20, seed=4)
plain_datasets = [plain_lenses.imaging_from(i) for i in range(len(plain_lenses))]
index = int(np.argsort([np.max(each.signal_to_noise_map.array) for each in plain_datasets])[15])
mask = al.Mask2D.circular(
    shape_native=plain_datasets[index].shape_native, pixel_scales=0.1, radius=2.6
)
dataset = plain_datasets[index].apply_mask(mask=mask).apply_over_sampling(over_sample_size_lp=2)
posterior = network.posterior_from(dataset)
analysis = al.AnalysisImaging(dataset=dataset, use_jax=True)

column_of = target_columns(plain.model, network.names)
order = sorted(range(len(network.names)), key=lambda i: column_of[network.names[i]])

parameters, log_density = posterior.sample_with_density(300, seed=1)
log_likelihood = np.array(
    [
        analysis.log_likelihood_function(plain.model.instance_from_vector(list(vector)))
        for vector in parameters[:, order]
    ],
    dtype=float,
)
log_weight = log_likelihood - log_density
weight = np.exp(log_weight - log_weight.max())
print(f"effective sample size: {weight.sum() ** 2 / np.sum(weight**2):.1f} of {len(weight)} draws")

"""
About one. The network is right and nearly useless as it is: in each of a dozen dimensions it is several times wider than
the posterior of a bright lens, so hardly one draw in thousands lands where the likelihood is.

That is why `aml.CNN` does more than weigh: it climbs from the network's best draws, learns the shape of the posterior
around the peaks, and weighs draws from that. We fit the lens that ships with the package, whose intensities are solved for
linearly, as one does in practice.
"""

demo = al.Imaging.from_fits(
    data_path=DEMO_FITS,
    data_hdu=1,
    psf_path=DEMO_FITS,
    psf_hdu=2,
    noise_map_path=DEMO_FITS,
    noise_map_hdu=3,
    pixel_scales=0.1,
    over_sample_size_lp=2,
)
mask = al.Mask2D.circular(shape_native=demo.shape_native, pixel_scales=0.1, radius=2.3)
demo = demo.apply_mask(mask=mask)

lens = af.Model(
    al.Galaxy,
    redshift=0.5,
    bulge=al.lp_linear.Sersic,
    mass=al.mp.Isothermal,
    shear=al.mp.ExternalShear,
)
source = af.Model(al.Galaxy, redshift=1.0, bulge=al.lp_linear.Sersic)
lens.mass.einstein_radius = af.UniformPrior(lower_limit=0.0, upper_limit=2.3)
lens.bulge.effective_radius = af.UniformPrior(lower_limit=0.0, upper_limit=2.3)
source.bulge.effective_radius = af.UniformPrior(lower_limit=0.0, upper_limit=2.3)
model = af.Collection(galaxies=af.Collection(lens=lens, source=source))

search = aml.CNN(
    path_prefix="howtolens_ml",
    name="corrected",
    unique_tag="chapter_4",
    network="euclid-sie",
    seed=1,
)
result = search.fit(model=model, analysis=al.AnalysisImaging(dataset=demo, use_jax=True))
info = result.samples.samples_info
print(f"status: {info['status']}")
print(f"effective sample size: {info['ess']:.0f} of {info['n_likelihood']:,} likelihoods")
print(f"k-hat: {info['pareto_k']:.2f}")

shown(
    aml.plot.corner(
        {"network": network.posterior_from(demo), "corrected": result.samples},
        Path("corrected.png"),
        parameters=names[2:5],
    ),
    7.0,
)

"""
The corrected posterior lies inside the network's, many times narrower. The network found the place; the likelihood
decided.

__Exercise__

What would TARP and the ranks say about the network that always answers with the prior? Make it: give every lens 500 draws
that are the true parameters of other lenses, and look at the verdict and at the widths.

The answer: it is calibrated, at any level and in all parameters together, and its widths are those of the prior. Always
ask for both.
"""

rng = np.random.default_rng(0)
prior_draws = truths[rng.integers(len(truths), size=(len(truths), 500))]
ignorant = calibration_from(prior_draws, truths, short, seed=0)
print(f"jointly: {ignorant.joint_verdict}")
print(f"68.3 % intervals hold {100 * ignorant.coverage.value[0].mean():.1f} %")
ignorant_width = np.median(0.5 * (ignorant.upper - ignorant.lower)[:, j])
print(
    f"width of the Einstein radius: {ignorant_width:.2f}, the network's is {np.median(widths[:, j]):.3f}"
)

"""
__Wrap Up__

You measured whether a network knows how wrong it is, with three diagnostics that need nothing but simulations, and you
know what broken ones look like. And you saw why the last word belongs to the likelihood.

The next chapter leaves parameters behind: a network that reconstructs the source and the mass pixel by pixel.
"""
