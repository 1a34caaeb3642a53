"""
Chapter 5: The RIM
==================

Until now a lens was a handful of numbers. Real galaxies are not. Their mass has bumps, their sources have knots and arms,
and what no parameter describes stays in the residuals. So why not take pixels, for the source and for the mass, and let
the data say what is in them?

Because the data do not say enough. A source on pixels with a known lens is a linear problem, which PyAutoLens solves. A
source *and* a convergence on pixels is not even a problem with one answer: there are more unknowns than data, and nearly
every convergence has a source that fits. Something must say which of the answers are likely. A recurrent inference machine,
or RIM, learns this from simulated lenses, and learns at the same time how to get there: it looks at its own residuals, and
decides what to change.

In this chapter you watch it do so, bring it to the noise in two ways, and compare it with the truth. The last part is the
most important one: what it cannot do.

__Contents__

- **A Lens:** With a source that no Sersic fits.
- **Eight Steps:** How source and convergence come about.
- **Chi-Squared Maps:** What is left of the data after each step.
- **Fine-Tuning:** The network learns this one lens.
- **Refinement:** The likelihood finishes, as always.
- **Against the Truth:** Which of the three is nearest to it, and on which scales.
- **What It Cannot Do:** A subhalo, and the mass sheet again.
- **As a Search:** `aml.RIM` on a model with pixels.
- **Exercise:** A question, and its answer.
- **Wrap Up:** What to take home.
"""

import time
from dataclasses import replace
from pathlib import Path

import autofit as af
import autolens as al
import autolens.plot as aplt
import matplotlib.pyplot as plt
import numpy as np

import autolens_ml as aml
from autolens_ml.inference.reconstruction import FineTuning, compared, load_reconstructor
from autolens_ml.plot.reconstruction_plots import TrueMaps, reconstruction_plot, steps_plot

"""
__A Lens__

`rim-small` is the network that ships. Its card says for which images it is: pixels of 0.1", which are those of Euclid's
visible camera, and no light of the lens, which has to be subtracted before.
"""

reconstructor = load_reconstructor("rim-small")
card = reconstructor.card
print(card.description)
print(f"{card.n_parameters:,} weights, trained on {card.training['samples']:,} lenses")

"""
We simulate a lens with PyAutoLens: an elliptical power law, a little steeper than isothermal, and shear. Its source is a
disc with three knots. The network learned from neither, but from power laws with random fields on top, and other galaxies.
"""

true_lens = al.Galaxy(
    redshift=0.5,
    mass=al.mp.PowerLaw(
        centre=(0.02, -0.03), ell_comps=(0.1, 0.06), einstein_radius=1.1, slope=2.1
    ),
    shear=al.mp.ExternalShear(gamma_1=0.03, gamma_2=-0.02),
)
true_source = al.Galaxy(
    redshift=1.0,
    disc=al.lp.Exponential(
        centre=(0.05, 0.08), ell_comps=(0.2, 0.1), intensity=0.8, effective_radius=0.22
    ),
    knot_1=al.lp.ExponentialSph(centre=(0.25, 0.22), intensity=1.0, effective_radius=0.08),
    knot_2=al.lp.ExponentialSph(centre=(-0.14, 0.2), intensity=0.8, effective_radius=0.08),
    knot_3=al.lp.ExponentialSph(centre=(0.12, -0.16), intensity=0.6, effective_radius=0.09),
)

simulator = al.SimulatorImaging(
    exposure_time=200.0,
    psf=al.Convolver.from_gaussian(shape_native=(11, 11), pixel_scales=0.1, sigma=0.08),
    background_sky_level=1.0,
    noise_seed=1,
)
image_grid = al.Grid2D.uniform(shape_native=(48, 48), pixel_scales=0.1, over_sample_size=4)
mask = al.Mask2D.circular(shape_native=(48, 48), pixel_scales=0.1, radius=2.3)


def dataset_of(galaxies):
    """Galaxies as they are observed."""
    dataset = simulator.via_tracer_from(tracer=al.Tracer(galaxies), grid=image_grid)
    return dataset.apply_mask(mask=mask).apply_over_sampling(over_sample_size_lp=2)


dataset = dataset_of([true_lens, true_source])

# The truth on the pixels of the network.
source_grid = al.Grid2D.uniform(
    shape_native=reconstructor.source_shape,
    pixel_scales=reconstructor.source_pixel_scale,
    over_sample_size=4,
)
kappa_grid = al.Grid2D.uniform(
    shape_native=reconstructor.shape, pixel_scales=reconstructor.pixel_scale
)
truth = TrueMaps(
    source=true_source.image_2d_from(grid=source_grid).native.array,
    convergence=true_lens.convergence_2d_from(grid=kappa_grid).native.array,
)

figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
aplt.plot_array(array=dataset.data, ax=axes[0], title="Data", cb_unit="e-/s")
axes[1].imshow(truth.source, cmap="inferno", extent=[-1.2, 1.2, -1.2, 1.2])
axes[1].set(title="The true source", xlabel="x (arcsec)", ylabel="y (arcsec)")
plt.show()
print(f"brightest pixel: signal-to-noise {np.max(dataset.signal_to_noise_map.array):.0f}")
n_unknown = np.prod(reconstructor.source_shape) + np.prod(reconstructor.shape)
print(f"{dataset.data.array.size:,} pixels of data for {n_unknown:,} unknown ones")

"""
__Eight Steps__

At each step the network sees the image, its current source and convergence, and the gradient of the likelihood with respect
to both. It answers with a change of both, and remembers what it did. The gradient says in which direction the data pull,
and training says how far lenses ever go in it.

We ask for the network alone at first, `refinement=None`. From left to right: the maps after each step, above them the
reduced chi-squared, on the right the truth.
"""


def shown(path, width):
    """Show a figure that was saved."""
    image = plt.imread(path)
    plt.figure(figsize=(width, width * image.shape[0] / image.shape[1]), layout="constrained")
    plt.imshow(image)
    plt.axis("off")
    plt.show()


start = time.perf_counter()
alone = reconstructor.reconstruct(dataset, refinement=None)
print(f"{reconstructor.n_steps} steps in {time.perf_counter() - start:.1f} s")
print(f"reduced chi-squared: {', '.join(f'{value:.3g}' for value in alone.chi_squared)}")
shown(steps_plot(alone, Path("steps.png"), truth), 14.0)

"""
The first step already has a lens of the right size, from the image alone. What follows sharpens the source, and flattens the
mass in the right direction, so that the arcs come out where they are.

__Chi-Squared Maps__

Chi-squared is one number, and a bad fit can hide in it. So we look at its map, the contribution of each pixel, whose mean
is the reduced chi-squared. A reconstruction is a list of PyAutoLens galaxies, so we can let `al.FitImaging` make the maps,
which is a check as well: the model inside the network and the likelihood of PyAutoLens must agree.
"""


def fit_of(found, step=-1):
    """PyAutoLens's fit of the maps after a step."""
    at = replace(
        found,
        source=found.steps.source[step],
        convergence=found.steps.convergence[step],
        shear=tuple(found.steps.shear[step]),
    )
    return al.FitImaging(dataset=dataset, tracer=al.Tracer(at.galaxies()))


figure, axes = plt.subplots(1, 3, figsize=(14.5, 4.2), layout="constrained")
for ax, step in zip(axes, (0, 2, 7), strict=True):
    fit = fit_of(alone, step)
    reduced = float(fit.chi_squared) / dataset.data.array.size
    array, title = fit.chi_squared_map, f"after step {step + 1}"
    aplt.plot_array(array=array, ax=ax, title=title, vmax=12.0, cb_unit="")
    inside = alone.chi_squared[step]
    print(f"step {step + 1}: reduced chi-squared {reduced:.2f}, {inside:.2f} inside the network")
plt.show()

"""
The network alone stops above one. This is typical: its card gives the median over 200 test lenses, and the share of them
that end within five per cent of one, before and after what we are going to call refinement.
"""

for name in ("chi_squared", "chi_squared_near_one", "refined_chi_squared_near_one"):
    metric = card.metrics[name]
    print(f"{name}: {metric['value']:.3f} ({metric['low']:.3f} to {metric['high']:.3f})")

"""
The reason is simple. The network is small, its training was short, and it was taught to be right on average over all
lenses, not to squeeze the last sigma out of this one. There are two remedies.

__Fine-Tuning__

The first is to teach it this one lens. Its weights are changed by the gradient of chi-squared, and pulled back where they
matter for lenses like this one, so that it does not forget what galaxies look like. The path goes up and down; the best
weights on it are kept, and serve this lens alone. We give it 40 steps, the default is 150.
"""

start = time.perf_counter()
tuned = reconstructor.reconstruct(dataset, refinement=None, fine_tuning=FineTuning(n_steps=40))
print(f"{len(tuned.tuning) - 1} steps of tuning in {time.perf_counter() - start:.0f} s")
print(f"reduced chi-squared: {alone.reduced_chi_squared:.3f} -> {tuned.reduced_chi_squared:.3f}")

"""
__Refinement__

The second is the rule of this package: a network proposes, the likelihood decides. The maps of the network become the mean
of a prior, smooth and not far from them, and the most probable maps given the data are sought by their gradient. It is what
`reconstruct` does unless you forbid it.
"""

start = time.perf_counter()
refined = reconstructor.reconstruct(dataset)
print(f"network and refinement in {time.perf_counter() - start:.1f} s")

three = {"network alone": alone, "tuned": tuned, "refined": refined}
figure, axes = plt.subplots(1, 3, figsize=(14.5, 4.2), layout="constrained")
for ax, (name, found) in zip(axes, three.items(), strict=True):
    array, title = fit_of(found).normalized_residual_map, f"{name}: {found.reduced_chi_squared:.2f}"
    aplt.plot_array(
        array=array, ax=ax, title=title, colormap="RdBu_r", vmin=-5.0, vmax=5.0, cb_unit=""
    )
plt.show()

"""
__Against the Truth__

A good chi-squared is not the truth. We know the truth, so we ask which of the three is nearest to it.
"""


def against_truth(found):
    """Numbers and spectra of a reconstruction against the true maps."""
    sources = found.source, truth.source, found.source_pixel_scale
    return compared(*sources, found.convergence, truth.convergence, found.pixel_scale)


print(f"{'':<15}{'chi2':>6}{'source':>9}{'kappa':>8}{'radius':>10}{'slope':>8}{'sheet':>8}")
for name, found in three.items():
    numbers = against_truth(found)
    print(
        f"{name:<15}{found.reduced_chi_squared:>6.2f}{numbers.source_correlation:>9.3f}"
        f'{numbers.convergence_correlation:>8.3f}{numbers.einstein_radius_error:>+9.3f}"'
        f"{numbers.slope_error:>+8.2f}{numbers.mass_sheet_factor:>8.3f}"
    )
shown(reconstruction_plot(list(three.values()), Path("three.png"), [truth] * 3, list(three)), 14.0)

"""
The columns are the correlations of source and of log convergence with the truth, the errors of Einstein radius and slope,
and a factor to which we come below. Read them from top to bottom: while chi-squared falls to one, the source comes nearer to
the truth, and its three knots come out. The mass hardly changes, as the data know less of it, and the slope stays too steep.

Which details of the two maps are right? The coherence answers for each scale: one where the waves of map and truth agree,
zero where they have nothing to do with each other.
"""

spectra = against_truth(refined)
figure, ax = plt.subplots(figsize=(6.5, 3.8), layout="constrained")
curves = {"source": spectra.source_coherence, "log convergence": spectra.convergence_coherence}
for label, spectrum in curves.items():
    ax.plot(spectrum.wavenumber, spectrum.value, label=label)
    right = np.flatnonzero(np.asarray(spectrum.value) < 0.7)
    limit = spectrum.wavenumber[right[0]] if right.size else spectrum.wavenumber[-1]
    print(f'{label}: coherence above 0.7 for waves longer than {1.0 / limit:.2f}"')
ax.axhline(0.0, color="k", lw=1)
ax.set(xlabel="Wavenumber (cycles per arcsec)", ylabel="Coherence with the truth")
ax.legend()
plt.show()

"""
The source is right on finer scales than the mass. And part of the coherence of the convergence is a gift: every lens is
dense in the middle, so a map without any information would have some. What is smaller than the wave at which a curve falls
comes from the network, and not from the data.

__What It Cannot Do__

So test it on what you want to use it for. Many people want to see substructure in such maps. We put a subhalo on the arc,
a heavy one, observe again with the same noise, reconstruct again, and look at the difference of the two convergences.
"""

subhalo = al.mp.IsothermalSph(centre=(1.0, 0.45), einstein_radius=0.05)
with_subhalo = al.Galaxy(redshift=0.5, mass=true_lens.mass, shear=true_lens.shear, subhalo=subhalo)
again = reconstructor.reconstruct(dataset_of([with_subhalo, true_source]))
difference = again.convergence - refined.convergence
true_difference = subhalo.convergence_2d_from(grid=kappa_grid).native.array

figure, axes = plt.subplots(1, 2, figsize=(9.5, 4.2), layout="constrained")
maps = {"the subhalo": true_difference, "change of the map": difference}
style = {"colormap": "RdBu_r", "vmin": -0.2, "vmax": 0.2, "cb_unit": ""}
for ax, (title, values) in zip(axes, maps.items(), strict=True):
    array = al.Array2D.no_mask(values, pixel_scales=0.1)
    aplt.plot_array(array=array, ax=ax, title=title, **style)
plt.show()

y, x = (np.array(kappa_grid.native.array[:, :, i]) for i in (0, 1))
near = np.hypot(y - 1.0, x - 0.45) < 0.35
far = (np.hypot(y, x) < 1.6) & ~near
mass_found = np.sum(difference[near]) / np.sum(true_difference[near])
print(f'mass within 0.35" of the subhalo: {100 * mass_found:.0f} % of the true one')
print(f"largest change {difference[near].max():+.3f} there, {difference[far].max():+.3f} elsewhere")

"""
Something is there, near the right place and of about the right mass. But it is smeared to an arm, and the largest change of
all is in the middle of the lens, where nothing has changed and there is no arc to see it by. If you did not have the left
map, which of the two would you have published? A map tells you *where* to look. Whether something is there is a question
for two models and their evidence, as in Chapter 2.

The second thing that no map can know is the mass sheet of Chapter 2. The last column above is the factor by which to scale
a convergence, with the sheet that hides it, to bring it nearest to the truth. The image leaves it open; the network fills
it in from its training, where lenses have slopes from 1.7 to 2.3.

And some data are unlike all that it has learned from. Then it says so, in `concerns`. Here is a lens that is too large.
"""

large = al.Galaxy(redshift=0.5, mass=al.mp.Isothermal(ell_comps=(0.1, 0.06), einstein_radius=1.95))
doubted = reconstructor.reconstruct(dataset_of([large, true_source]), refinement=None)
print(f"concerns, lens of this chapter: {refined.concerns or 'none'}")
for concern in doubted.concerns:
    print(f"concern, large lens: {concern}")

"""
__As a Search__

`aml.RIM` brings this into your workflow. A model with `aml.mp.PixelConvergence` or `aml.lp.PixelLight` gets its maps from
the network and the refinement, in place of those that you give; what is left free in the model is then fitted as always. We
leave free an amplitude of the mass and of the light, and the shear, with priors around what the maps say.
"""

given = {"values": np.zeros((2, 2)), "pixel_scale": 1.0, "position_angle": 0.0, "scale": 1.0}
pixel_mass = af.Model(aml.mp.PixelConvergence, centre=(0.0, 0.0), **given)
pixel_mass.amplitude = af.GaussianPrior(mean=1.0, sigma=0.1)
pixel_light = af.Model(aml.lp.PixelLight, centre=(0.0, 0.0), **given)
pixel_light.intensity = af.GaussianPrior(mean=1.0, sigma=0.2)
model = af.Collection(
    galaxies=af.Collection(
        lens=af.Model(al.Galaxy, redshift=0.5, mass=pixel_mass, shear=al.mp.ExternalShear),
        source=af.Model(al.Galaxy, redshift=1.0, light=pixel_light),
    )
)

search = aml.RIM(
    path_prefix="howtolens_ml",
    name="rim",
    unique_tag="chapter_5",
    n_noise=4,
    n_starts=8,
    n_effective=500,
    seed=1,
)
result = search.fit(model=model, analysis=al.AnalysisImaging(dataset=dataset, use_jax=True))

info = result.samples.samples_info
print(f"status: {info['status']}, k-hat {info['pareto_k']:.2f}, ESS {info['ess']:.0f}")
print(f"maps by {info['network']}, reduced chi-squared {info['reduced_chi_squared']:.3f}")
print(f"evidence: {info['log_evidence']}")
print(f"uncertainty {info['uncertainty']}")

limits = result.samples.values_at_sigma(sigma=1.0, as_instance=False)
for path, (low, high) in zip(result.samples.model.paths, limits, strict=True):
    print(f"{'.'.join(path):<35}{low:8.4f} to {high:.4f} at 1 sigma")

"""
No evidence is claimed, and this is not modesty. The maps are a point estimate, and the posterior is that of four numbers
*given* these maps. So its intervals are far too narrow for the lens itself: look at the shear, whose true values are 0.03
and -0.02. (Part of the difference is mass beyond the frame, which pulls like a shear; the rest is in the maps.) The
uncertainty is how much noise alone moves the maps, and knows nothing of what the network prefers.

__Exercise__

Forget to subtract the light of the lens. What will the network make of it, and will it tell you?

The answer: it has never seen light in the middle, and can only explain it by a source and a mass which put it there. It
tells: the reduced chi-squared stays above one, which is a concern. The Einstein radius is nearly right, and the correlation
of the source does not look bad: such numbers pass, if nobody looks at the maps and at chi-squared.
"""

plt.rcParams["font.size"] = 10  # autofit's own figures leave large letters behind
lens_light = al.lp.SersicSph(intensity=0.4, effective_radius=0.5, sersic_index=3.0)
with_light = al.Galaxy(redshift=0.5, mass=true_lens.mass, shear=true_lens.shear, light=lens_light)
forgotten = reconstructor.reconstruct(dataset_of([with_light, true_source]))
numbers = against_truth(forgotten)
for concern in forgotten.concerns:
    print(f"concern: {concern}")
print(f"correlation of the source: {numbers.source_correlation:.2f}")
print(f'error of the Einstein radius: {numbers.einstein_radius_error:+.3f}"')
shown(reconstruction_plot([forgotten], Path("forgotten.png"), [truth], ["forgotten"]), 14.0)

"""
__Wrap Up__

You reconstructed a source and a mass with more unknowns than data, in eight steps of a network and a refinement by the
likelihood. You measured which scales of the result are the data's, and you saw a subhalo that such a map does not prove.

The next chapter goes half way back to parameters: sources and masses whose shapes a network has learned, but whose
posterior and evidence are exact.
"""
