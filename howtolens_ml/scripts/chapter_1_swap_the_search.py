"""
Chapter 1: Swap the Search
==========================

You have fitted strong lenses with PyAutoLens. You load an image, compose an `af.Model` of a lens and a source, choose
`af.Nautilus`, and wait. For one lens the wait does not matter. For the hundred thousand lenses that Euclid will bring,
it does.

In this chapter you take such a script and change one line. Everything else stays: the dataset, the model, the priors,
the likelihood, the output folder, the `Result`. We then put the posterior of the new search on top of that of Nautilus,
and look at what the new search tells you about how far to trust it, because a fast answer is worth nothing if you cannot
tell when it is wrong.

__Contents__

- **The Lens:** A simulated lens whose true parameters we know.
- **The Model:** An `af.Model`, exactly as you would write it for any search.
- **Nautilus:** The fit as you know it, timed.
- **The Swap:** `aml.CNN` instead, timed, on the same model and analysis.
- **Same Posterior:** Both posteriors in one figure, and their evidences side by side.
- **How It Works:** What the search does with your likelihood.
- **With a Network:** What a network adds when one matches your data.
- **When to Trust It:** The status of a fit, and what `MARGINAL` and `FAILED` look like.
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

"""
__The Lens__

We simulate the lens ourselves, because then we know the truth. It is an isothermal ellipsoid with an Einstein radius of
1.2", and nearly behind it is a round galaxy with an exponential profile, so that its images join into a ring. The pixels
and the PSF are those of Euclid's visible camera.
"""

grid = al.Grid2D.uniform(shape_native=(50, 50), pixel_scales=0.1, over_sample_size=4)
psf = al.Convolver.from_gaussian(shape_native=(11, 11), pixel_scales=0.1, sigma=0.09)

true_lens = al.Galaxy(
    redshift=0.5,
    mass=al.mp.Isothermal(centre=(0.0, 0.0), ell_comps=(0.10, 0.05), einstein_radius=1.2),
)
true_source = al.Galaxy(
    redshift=1.0,
    light=al.lp.ExponentialSph(centre=(0.05, 0.10), intensity=0.5, effective_radius=0.2),
)

simulator = al.SimulatorImaging(
    exposure_time=500.0, psf=psf, background_sky_level=0.5, noise_seed=1
)
dataset = simulator.via_tracer_from(tracer=al.Tracer([true_lens, true_source]), grid=grid)

mask = al.Mask2D.circular(shape_native=dataset.shape_native, pixel_scales=0.1, radius=2.0)
dataset = dataset.apply_mask(mask=mask).apply_over_sampling(over_sample_size_lp=2)

figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
aplt.plot_array(array=dataset.data, ax=axes[0], title="Image", cb_unit="e-/s")
aplt.plot_array(array=dataset.signal_to_noise_map, ax=axes[1], title="Signal / noise", cb_unit="")
print(f"brightest pixel: signal-to-noise {np.max(dataset.signal_to_noise_map.array):.0f}")

"""
__The Model__

Seven free parameters: three of the mass, whose centre we take to be where the light of the lens was before it was
subtracted, and four of the source. We set a few priors by hand. PyAutoLens's defaults are made for anything from dwarfs to
clusters (the Einstein radius may be up to 8"), and nobody who has looked at this image believes in an Einstein radius
outside of it. Nothing here knows about `autolens_ml`.
"""

mass = af.Model(al.mp.Isothermal, centre=(0.0, 0.0))
mass.einstein_radius = af.UniformPrior(lower_limit=0.5, upper_limit=2.0)

light = af.Model(al.lp.ExponentialSph)
light.centre.centre_0 = af.GaussianPrior(mean=0.0, sigma=0.3)
light.centre.centre_1 = af.GaussianPrior(mean=0.0, sigma=0.3)
light.intensity = af.LogUniformPrior(lower_limit=0.05, upper_limit=50.0)
light.effective_radius = af.UniformPrior(lower_limit=0.02, upper_limit=1.0)

model = af.Collection(
    galaxies=af.Collection(
        lens=af.Model(al.Galaxy, redshift=0.5, mass=mass),
        source=af.Model(al.Galaxy, redshift=1.0, light=light),
    )
)
analysis = al.AnalysisImaging(dataset=dataset, use_jax=True)

print(model.info)

"""
__Nautilus__

First the search that you know. Nautilus is a nested sampler that speeds itself up by small neural networks, which it
trains during the fit. It is the default of PyAutoLens for good reason.

We measure the time, and count how often the likelihood was evaluated. The times on your machine will be others, most likely
far shorter ones: those stored here are of a small share of one busy core, and include the figures that every search writes
to its output folder. The number of likelihoods will not be very different.
"""

nautilus = af.Nautilus(
    path_prefix="howtolens_ml",
    name="nautilus",
    unique_tag="chapter_1",
    n_live=100,
    silence=True,
    seed=1,
)

start = time.perf_counter()
nautilus_result = nautilus.fit(model=model, analysis=analysis)
nautilus_seconds = time.perf_counter() - start

nautilus_calls = nautilus_result.samples.total_samples
print(f"Nautilus: {nautilus_seconds:.0f} s, {nautilus_calls:,} samples")
print(f"ln Z = {nautilus_result.samples.log_evidence:.2f}")

"""
__The Swap__

Now the one line. `aml.CNN` takes the same `path_prefix`, `name` and `unique_tag` as every search, and it is fitted in
the same way. With `network=None` it uses no network at all: what you see is the inference engine on its own, from draws
of your priors. We come to the network below.
"""

search = aml.CNN(
    path_prefix="howtolens_ml", name="cnn", unique_tag="chapter_1", network=None, seed=1
)

start = time.perf_counter()
result = search.fit(model=model, analysis=analysis)
seconds = time.perf_counter() - start

info = result.samples.samples_info
print(f"aml.CNN: {seconds:.0f} s, of which a part is spent on compiling the gradient")
print(f"{info['n_likelihood']:,} likelihoods and {info['n_gradient']:,} gradients")
print(f"ln Z = {info['log_evidence']:.2f} +- {info['log_evidence_error']:.2f}")
print(f"status: {info['status']}")

"""
The `Result` is the same kind of object, with the same methods. All that you have written for the results of other
searches goes on working: the aggregator, `result.model_centred` for the next search of a chain, the figures of `aplt`.
"""

fit = result.max_log_likelihood_fit
figure, axes = plt.subplots(1, 3, figsize=(14.5, 4.2), layout="constrained")
aplt.plot_array(array=fit.data, ax=axes[0], title="Data", cb_unit="e-/s")
aplt.plot_array(array=fit.model_data, ax=axes[1], title="Best model", cb_unit="e-/s")
style = {"colormap": "RdBu_r", "vmin": -5.0, "vmax": 5.0, "cb_unit": r"$\sigma$"}
residuals = fit.normalized_residual_map
aplt.plot_array(array=residuals, ax=axes[2], title="Residuals / noise", **style)
plt.show()
print(f"chi squared per pixel: {float(fit.chi_squared) / dataset.data.array.size:.2f}")

median = result.samples.median_pdf().galaxies.lens.mass.einstein_radius
low = result.samples.values_at_lower_sigma(sigma=3.0).galaxies.lens.mass.einstein_radius
high = result.samples.values_at_upper_sigma(sigma=3.0).galaxies.lens.mass.einstein_radius
print(f"Einstein radius {median:.4f} ({low:.4f} to {high:.4f} at 3 sigma), true 1.2000")

"""
__Same Posterior__

Is it the same answer? `aml.plot.corner` draws several posteriors on top of each other. The contours hold 39 % and 86 %
of each posterior, which are one and two sigma of a two-dimensional Gaussian. The red lines are the truth.
"""

truth = {
    "galaxies.lens.mass.ell_comps.ell_comps_0": 0.10,
    "galaxies.lens.mass.ell_comps.ell_comps_1": 0.05,
    "galaxies.lens.mass.einstein_radius": 1.2,
    "galaxies.source.light.effective_radius": 0.2,
}
plt.rcParams["font.size"] = 10  # autofit's own figures leave large letters behind
aml.plot.corner(
    {"af.Nautilus": nautilus_result.samples, "aml.CNN": result.samples},
    "corner.png",
    parameters=list(truth),
    truth=truth,
)
plt.figure(figsize=(9, 9))
plt.imshow(plt.imread("corner.png"))
plt.axis("off")
plt.show()

"""
Do not trust your eyes alone. The largest difference of the medians, in units of the posterior's own width, is a number;
so is the difference of the evidences.
"""


def medians_and_widths(samples):
    """Medians, and half the widths of the central 68 % intervals."""
    lower = np.array(samples.values_at_lower_sigma(sigma=1.0, as_instance=False))
    upper = np.array(samples.values_at_upper_sigma(sigma=1.0, as_instance=False))
    return np.array(samples.median_pdf(as_instance=False)), 0.5 * (upper - lower)


median, width = medians_and_widths(result.samples)
nautilus_median, nautilus_width = medians_and_widths(nautilus_result.samples)
shifts, ratios = np.abs(median - nautilus_median) / nautilus_width, width / nautilus_width
difference = result.samples.log_evidence - nautilus_result.samples.log_evidence

print(f"largest shift of a median: {shifts.max():.2f} sigma")
print(f"widths over those of Nautilus: {ratios.min():.2f} to {ratios.max():.2f}")
print(f"difference of ln Z: {difference:+.2f}")

cost = info["n_likelihood"] + 3 * info["n_gradient"]
nautilus_weights = np.array(nautilus_result.samples.weight_list)
nautilus_ess = np.sum(nautilus_weights) ** 2 / np.sum(nautilus_weights**2)
print(f"likelihoods, if a gradient counts as three: {nautilus_calls:,} and {cost:,}")
print(f"effective samples: {nautilus_ess:.0f} and {info['ess']:.0f}")
print(f"seconds, Nautilus over aml.CNN: {nautilus_seconds / seconds:.1f}")

"""
The last three lines are honest ones for an easy lens. Nautilus is good at seven parameters, and gradients are not for free:
the two searches do similar work here. What is different is what comes out of it, the number of effective samples, and the
time, of which Nautilus needs a good part for its own thoughts between the likelihoods. With more parameters the gap widens.

A difference of a few tenths in ln Z is normal: the evidence of a nested sampler with 100 live points is itself uncertain
by about that much. Evidence decides between models when it differs by several, not by tenths.

__How It Works__

No approximation of the posterior has gone into these numbers. The search does four things:

1. It draws a few hundred models from the priors (or from a network), ranks them by your likelihood, and climbs from the
   best and most different ones to their peaks, by the gradient that JAX provides.
2. Around the peaks it builds a density that imitates the posterior, and learns from weighted draws until the imitation
   is good. Every draw has a weight, posterior over density, so an imperfect imitation is corrected, not believed.
3. It then freezes the density, and draws anew. Only these draws are reported: weights that have helped to shape the
   density that they judge would flatter it.
4. It looks at the weights. If a few draws carry everything, the density was bad, and the search says so.

The last step gives two numbers that you should learn to read. The *effective sample size* says how many independent
draws the weighted ones are worth. *Pareto k-hat* says whether the weights have a finite variance: below 0.7 averages
over them can be trusted, above it they cannot.
"""

print(f"effective sample size: {info['ess']:.0f}")
print(f"Pareto k-hat: {info['pareto_k']:.2f}")
probabilities = np.array(result.samples.weight_list) / np.sum(result.samples.weight_list)
print(f"the heaviest draw carries {100 * probabilities.max():.2f} % of the posterior")

"""
__With a Network__

A network has seen many lenses, and proposes where the parameters of this one are. The package ships networks for some
instruments and models, each with a card that says what it learned from and how large its errors are.
"""

for card in aml.networks("lens-parameters"):
    print(f"{card.name}: {card.description}")

"""
`network="auto"`, the default of `aml.CNN`, takes the network whose pixels, PSF and parameters match your data and model,
and says which. Ours matches `euclid-sie` but for what it has no counterpart of: parameters are matched by their path in
the model, `galaxies.lens.mass.einstein_radius` for one, and those that a network does not know come from your priors.

Ask the network alone first. It answers in a fraction of a second, whatever the likelihood costs. On the left are draws of
its posterior, with those of the search in one corner of them; on the right is the same at twelve times the scale.
"""

network = aml.load_network("euclid-sie")
start = time.perf_counter()
posterior = network.posterior_from(dataset)
milliseconds = 1e3 * (time.perf_counter() - start)
print(f"the network's answer took {milliseconds:.0f} ms")
print(f"concerns: {posterior.concerns or 'none'}")

mass_names = ["galaxies.lens.mass.ell_comps.ell_comps_0", "galaxies.lens.mass.einstein_radius"]
places = [result.samples.model.paths.index(tuple(name.split("."))) for name in mass_names]
rows = np.random.default_rng(0).choice(len(probabilities), size=1000, p=probabilities)
corrected = np.array(result.samples.parameter_lists)[rows][:, places]
columns = [list(network.names).index(name) for name in mass_names]
proposed = posterior.sample(1000, seed=0)[:, columns]

figure, axes = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
for ax, zoom in zip(axes, (1.0, 12.0), strict=True):
    for draws, label in ((proposed, "the network alone"), (corrected, "aml.CNN")):
        ax.plot(*draws.T, ".", ms=3 if zoom == 1.0 else 5, label=label)
    ax.plot(0.10, 1.2, "+", color="r", ms=9 if zoom == 1.0 else 14, label="truth")
    ax.set_xlim(0.10 - 0.2 / zoom, 0.10 + 0.2 / zoom)
    ax.set_ylim(1.20 - 0.12 / zoom, 1.20 + 0.12 / zoom)
    ax.set(xlabel="ell_comps_0 of the mass", ylabel="Einstein radius (arcsec)")
axes[0].legend()
plt.show()

ratio = np.std(proposed, axis=0) / np.std(corrected, axis=0)
print(f"width, network over corrected: {ratio[0]:.0f} (ellipticity), {ratio[1]:.0f} (radius)")
away = np.abs(proposed - corrected.mean(axis=0)) / np.std(corrected, axis=0)
print(f"of 1,000 draws within three sigma in both: {np.sum(np.all(away < 3.0, axis=1))}")

"""
The network's posterior holds the truth, and is many times wider than what the data allow. That is as it should be: a
network gives one answer for all noise levels, shapes and sources that it has learned, in one pass. You also see why nobody
can just reweight its draws: few of a thousand fall where the posterior is in two parameters, and there are five more. So
the draws are not the answer. They are where the search starts:
"""

search = aml.CNN(
    path_prefix="howtolens_ml", name="cnn_auto", unique_tag="chapter_1", network="auto", seed=1
)
auto_result = search.fit(model=model, analysis=analysis)
auto_info = auto_result.samples.samples_info

print(f"network: {auto_info.get('network')}")
print(f"status: {auto_info['status']}, ln Z = {auto_info['log_evidence']:.2f}")
print(
    f"{auto_info['n_likelihood']:,} likelihoods and {auto_info['n_gradient']:,} gradients, "
    f"without network {info['n_likelihood']:,} and {info['n_gradient']:,}"
)

"""
The evidence is the same as without the network, within its error, because your likelihood decides in both cases. A bad
network costs time. It does not cost correctness.

The numbers of likelihoods are hardly different either. Nearly all of them go into the two thousand effective samples that
we asked for, and only few into finding the ring, for which our narrow priors are as good as a network. A network pays where
priors are wide, parameters many, and peaks several: where a search without one would climb to the wrong place.

__When to Trust It__

Every fit ends with a status.

- `CONVERGED`: there are as many effective samples as you asked for, and k-hat is below its threshold.
- `MARGINAL`: the weights are less even than they should be. Medians are usually fine, tails and evidence less so.
- `FAILED`: do not use the numbers.

Let us provoke them, with budgets that are far too small. The summary that is printed is the beginning of the file
`search.summary` in the output folder.
"""

for budget in (300, 1000):
    hasty = aml.CNN(
        path_prefix="howtolens_ml",
        name=f"hasty_{budget}",
        unique_tag="chapter_1",
        network=None,
        max_likelihood_calls=budget,
        seed=1,
    )
    hasty.fit(model=model, analysis=analysis)
    summary = (Path(hasty.paths.output_path) / "search.summary").read_text().splitlines()
    print(f"{budget} likelihoods", *summary[:5], sep="\n    ")

"""
With 300 likelihoods it did not even get to its first honest draws, and an evidence of -1e99 cannot be mistaken for one.
With 1,000 it says that there are fewer effective samples than we asked for, and you may still find the evidence good
enough: compare it with the one above. This is how you trade accuracy for time: `n_effective` asks for less from the start.

The status is in `samples_info`, in `search.summary`, and in the columns of a catalogue, so that you can filter a thousand
fits by it. `fallback=af.Nautilus(...)` runs another search by itself where the status is `FAILED`.

What can the status *not* see? A second mode that no start came near. If residuals show arcs, the fit is wrong whatever
the status says; and when it matters, run a second seed, and compare the evidences.

__Exercise__

Change `unique_tag` to `"chapter_1_seed_2"` and `seed` to 2, and run the search without a network again. By how much do
the two evidences differ, and is that as much as their errors say?

The answer: the two numbers are independent estimates, so their difference should be about as large as the root of the
sum of the squares of their errors, and rarely more than three times that.
"""

second = aml.CNN(
    path_prefix="howtolens_ml", name="cnn", unique_tag="chapter_1_seed_2", network=None, seed=2
)
second_info = second.fit(model=model, analysis=analysis).samples.samples_info

error = np.hypot(info["log_evidence_error"], second_info["log_evidence_error"])
difference = second_info["log_evidence"] - info["log_evidence"]
print(f"ln Z differs by {difference:+.3f}, which is {abs(difference) / error:.1f} of its errors")

"""
__Wrap Up__

You swapped one line, and got the same posterior and evidence in less time, with a verdict on whether to use them. You have
also seen the failure, which is the more important half.

In the next chapter we leave the search alone and change the physics: a lens with a vortex of dark matter in it.
"""
