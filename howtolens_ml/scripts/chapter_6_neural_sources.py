"""
Chapter 6: Neural Sources and Mass Maps
=======================================

Sources are not Sersics. They have arms, clumps, bars, companions, and a lens magnifies all of it. There are two classical
ways out. Add more Sersics until the residuals are gone, which is a search within a search; or reconstruct the source on
pixels, which fits anything, and needs a regularisation to keep it from fitting the noise.

This chapter shows a third: a light profile whose shape was *learned* from galaxies. It has sixteen latent parameters with
unit-normal priors, and whatever values they take, what comes out looks like a galaxy. To PyAutoLens it is a profile like
any other.

__Contents__

- **A Decoder:** Sixteen numbers to a galaxy.
- **Samples:** What the prior believes.
- **A Model Component:** Priors, JSON, and the network's fingerprint.
- **A Real Galaxy Behind a Lens:** Simulated with a galaxy that the network never saw.
- **Sersic against Neural:** Two fits, two evidences.
- **A Map of Its Own:** Taking the decoded source out of the network.
- **Neural Mass:** The same for convergence.
- **Exercise:** A question, and its answer.
- **Wrap Up:** What to take home.
"""

import autofit as af
import autolens as al
import autolens.plot as aplt
import matplotlib.pyplot as plt
import numpy as np

import autolens_ml as aml
from autolens_ml.training.map_sets import population_of

"""
__A Decoder__

`source-vae` is the decoder half of a variational autoencoder. It was trained on galaxies of the Hubble Deep Field, clumpy
discs and Sersics; its card says on how many of each, and how well galaxies that it never saw come back.
"""

card = next(card for card in aml.networks("autoencoder") if card.name == "source-vae")
print(card.description)
for name in ("error_in_noise", "error_in_noise hubble-deep-field", "resolved_wavelength"):
    metric = card.metrics[name]
    print(f"{name}: {metric['value']:.3f} ({metric['low']:.3f} to {metric['high']:.3f})")

"""
The first number is the error of reconstructions in units of a noise of 5 % per pixel; the last is the wavelength, in
half-light radii, above which all structure comes back. A network with sixteen numbers for a galaxy cannot do everything.

With all latents at zero, `aml.lp.NeuralSource` is the most typical galaxy. We move along one latent at a time:
"""

grid = al.Grid2D.uniform(shape_native=(100, 100), pixel_scales=0.02)
figure, axes = plt.subplots(3, 5, figsize=(12, 7.2), layout="constrained")
for row in range(3):
    for ax, value in zip(axes[row], (-2.0, -1.0, 0.0, 1.0, 2.0), strict=True):
        latents = [0.0] * 16
        latents[row] = value
        source = aml.lp.NeuralSource("source-vae", scale=2.0, latents=latents)
        image = source.image_2d_from(grid=grid).native.array
        ax.imshow(np.arcsinh(image / 0.1), cmap="inferno")
        ax.set(xticks=[], yticks=[], title=f"latent {row} = {value:+.0f}")
plt.show()

"""
__Samples__

A prior is best understood by what it draws. Latents from N(0, 1):
"""

rng = np.random.default_rng(3)
figure, axes = plt.subplots(2, 6, figsize=(13, 4.6), layout="constrained")
for ax in axes.ravel():
    source = aml.lp.NeuralSource("source-vae", scale=2.0, latents=rng.normal(size=16))
    ax.imshow(np.arcsinh(source.image_2d_from(grid=grid).native.array / 0.1), cmap="inferno")
    ax.set(xticks=[], yticks=[])
plt.show()

"""
This is what the network will put wherever your data leave a choice. Compare it to a pixelized source with a smoothness
prior, whose draws look like clouds.

__A Model Component__

`NeuralSource.model` gives an `af.Model` with the latents free. Place, angle, brightness and size are parameters beside
them, with the meaning that they have for any profile.
"""

light = aml.lp.NeuralSource.model("source-vae")
light.centre.centre_0 = af.GaussianPrior(mean=0.0, sigma=0.2)
light.centre.centre_1 = af.GaussianPrior(mean=0.0, sigma=0.2)
light.intensity = af.LogUniformPrior(lower_limit=0.01, upper_limit=100.0)
light.scale = af.LogUniformPrior(lower_limit=0.5, upper_limit=6.0)
print(light.info)

"""
The model knows which weights it was made for: `sha256` is in its JSON, and other weights of the same name are refused,
because latents of another network mean other galaxies.

__A Real Galaxy Behind a Lens__

A fair test needs a source that neither model can make exactly. We take a galaxy of the Hubble Deep Field that was held out
of the training, put it behind an isothermal lens with shear, and observe it.
"""

config = card.architecture["config"]
population = population_of(
    card.outputs["data"], config["size"], config["disc_radius"], card.training["seed"]
)
maps, kinds = population.drawn(64, 0, 0, held_out=True)
galaxy = maps[kinds == population.kinds.index("hubble-deep-field")][0]

true_source = aml.lp.PixelLight(
    values=galaxy, pixel_scale=2.0 / 64, centre=(0.05, -0.08), position_angle=30.0, intensity=8.0
)
true_lens = al.Galaxy(
    redshift=0.5,
    mass=al.mp.Isothermal(ell_comps=(0.1, 0.05), einstein_radius=1.2),
    shear=al.mp.ExternalShear(gamma_1=0.03, gamma_2=-0.02),
)
simulator = al.SimulatorImaging(
    exposure_time=300.0,
    psf=al.Convolver.from_gaussian(shape_native=(7, 7), pixel_scales=0.08, sigma=0.06),
    background_sky_level=2.0,
    noise_seed=0,
)
dataset = simulator.via_tracer_from(
    tracer=al.Tracer([true_lens, al.Galaxy(redshift=1.0, light=true_source)]),
    grid=al.Grid2D.uniform(shape_native=(50, 50), pixel_scales=0.08, over_sample_size=4),
)
mask = al.Mask2D.circular(shape_native=(50, 50), pixel_scales=0.08, radius=1.9)
dataset = dataset.apply_mask(mask=mask).apply_over_sampling(over_sample_size_lp=2)

figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
aplt.plot_array(array=dataset.data, ax=axes[0], title="Data", cb_unit="e-/s")
axes[1].imshow(galaxy, cmap="inferno")
axes[1].set(title="the true source", xticks=[], yticks=[])
plt.show()
print(f"brightest pixel: signal-to-noise {np.max(dataset.signal_to_noise_map.array):.0f}")

"""
__Sersic against Neural__

The same lens model twice, with the two sources. The priors on place and brightness are the same, so the evidence compares
shapes.
"""

sersic = af.Model(al.lp.Sersic)
sersic.centre.centre_0 = af.GaussianPrior(mean=0.0, sigma=0.2)
sersic.centre.centre_1 = af.GaussianPrior(mean=0.0, sigma=0.2)
sersic.intensity = af.LogUniformPrior(lower_limit=0.01, upper_limit=100.0)
sersic.effective_radius = af.LogUniformPrior(lower_limit=0.06, upper_limit=0.75)
sersic.sersic_index = af.UniformPrior(lower_limit=0.5, upper_limit=6.0)


def model_of(light):
    """A lens with wide priors, and a source."""
    mass = af.Model(al.mp.Isothermal)
    mass.centre.centre_0 = af.GaussianPrior(mean=0.0, sigma=0.05)
    mass.centre.centre_1 = af.GaussianPrior(mean=0.0, sigma=0.05)
    mass.einstein_radius = af.UniformPrior(lower_limit=0.8, upper_limit=1.6)
    return af.Collection(
        galaxies=af.Collection(
            lens=af.Model(al.Galaxy, redshift=0.5, mass=mass, shear=al.mp.ExternalShear),
            source=af.Model(al.Galaxy, redshift=1.0, light=light),
        )
    )


analysis = al.AnalysisImaging(dataset=dataset, use_jax=True)
results = {}
for name, source_light in {"sersic": sersic, "neural": light}.items():
    search = aml.CNN(
        path_prefix="howtolens_ml",
        name=name,
        unique_tag="chapter_6",
        network=None,
        n_effective=200,
        max_likelihood_calls=15_000,
        seed=1,
    )
    results[name] = search.fit(model=model_of(source_light), analysis=analysis)
    samples = results[name].samples
    info = samples.samples_info
    reduced = float(results[name].max_log_likelihood_fit.chi_squared) / dataset.data.array.size
    print(
        f"{name}: {samples.model.prior_count} parameters, chi squared per pixel {reduced:.2f}, "
        f"ln Z = {info['log_evidence']:.0f}, status {info['status']}"
    )

gain = results["neural"].samples.log_evidence - results["sersic"].samples.log_evidence
print(f"ln Z, neural minus Sersic: {gain:+.0f}")

"""
In 28 dimensions an exact posterior is hard, and the status of the neural fit may well say so. What a status other than
`CONVERGED` means here is that parts of the posterior may be missing, so the evidence is more likely too low than too high.
A gain of hundreds does not hinge on that.
"""

figure, axes = plt.subplots(2, 3, figsize=(14, 8.4), layout="constrained")
source_grid = al.Grid2D.uniform(shape_native=(120, 120), pixel_scales=2.0 / 120)
for row, (name, result) in zip(axes, results.items(), strict=True):
    fit = result.max_log_likelihood_fit
    best = result.max_log_likelihood_instance.galaxies
    aplt.plot_array(array=fit.model_data, ax=row[0], title=f"{name}: model", cb_unit="")
    aplt.plot_array(
        array=fit.normalized_residual_map,
        ax=row[1],
        title="residuals / noise",
        colormap="RdBu_r",
        vmin=-5.0,
        vmax=5.0,
        cb_unit=r"$\sigma$",
    )
    aplt.plot_array(
        array=best.source.light.image_2d_from(grid=source_grid),
        ax=row[2],
        title="source",
        cb_unit="",
    )
    print(f"{name}: Einstein radius {best.lens.mass.einstein_radius:.4f} (true 1.2000)")

"""
__A Map of Its Own__

A decoded source is a map, and can be taken out of the network: `pixels()` gives an `aml.lp.PixelLight`, which you can
plot, save, put into a tracer, or refine with a free amplitude, shift and rotation.
"""

decoded = results["neural"].max_log_likelihood_instance.galaxies.source.light.pixels()
print(type(decoded).__name__, np.shape(decoded.values))

true_image = true_source.image_2d_from(grid=source_grid).array
found_image = decoded.image_2d_from(grid=source_grid).array
print(f"correlation with the true source: {np.corrcoef(true_image, found_image)[0, 1]:.3f}")
sersic_image = (
    results["sersic"]
    .max_log_likelihood_instance.galaxies.source.light.image_2d_from(grid=source_grid)
    .array
)
print(f"the Sersic's: {np.corrcoef(true_image, sersic_image)[0, 1]:.3f}")

"""
__Neural Mass__

`aml.mp.NeuralConvergence` is the same for mass: sixteen latents to a convergence map whose mean within the Einstein radius
is one. It has deflections and a potential by the exact kernel of a pixelized map, so it lenses like any profile.
"""

figure, axes = plt.subplots(1, 4, figsize=(14, 3.6), layout="constrained")
mass_grid = al.Grid2D.uniform(shape_native=(100, 100), pixel_scales=0.04)
for ax in axes:
    mass = aml.mp.NeuralConvergence(
        "convergence-vae", einstein_radius=1.0, latents=rng.normal(size=16)
    )
    convergence = mass.convergence_2d_from(grid=mass_grid)
    ax.imshow(np.log10(convergence.native.array), cmap="viridis")
    ax.contour(np.log10(convergence.native.array), levels=8, colors="w", linewidths=0.5)
    ax.set(xticks=[], yticks=[])
    inside = mass.average_convergence_of_1_radius
    print(f"radius within which the mean convergence is one: {inside:.4f}")
plt.show()

"""
__Exercise__

A galaxy that the network has *not* learned to make: put two very different galaxies into the source, one of them far out.
What will the neural fit do, and where would you see it?

The answer: the latents will find the one galaxy that explains most, and the other stays in the residuals. The chi squared
and the residual map show it; the evidence alone does not, as it only compares. The remedy is a second source component.
"""

second = al.lp.ExponentialSph(centre=(0.35, 0.3), intensity=2.0, effective_radius=0.06)
two = al.Galaxy(redshift=1.0, light=true_source, companion=second)
two_dataset = simulator.via_tracer_from(
    tracer=al.Tracer([true_lens, two]),
    grid=al.Grid2D.uniform(shape_native=(50, 50), pixel_scales=0.08, over_sample_size=4),
)
two_dataset = two_dataset.apply_mask(mask=mask).apply_over_sampling(over_sample_size_lp=2)
best = results["neural"].max_log_likelihood_instance
two_fit = al.FitImaging(dataset=two_dataset, tracer=al.Tracer(galaxies=list(best.galaxies)))
print(
    f"chi squared per pixel of the old model: {float(two_fit.chi_squared) / mask.pixels_in_mask:.2f}"
)

"""
__Wrap Up__

You fitted a source whose shape was learned, with the search, the priors and the evidence that you use for Sersics. What it
gains is measured by the evidence; what it cannot do is in its card and in the residuals.
"""
