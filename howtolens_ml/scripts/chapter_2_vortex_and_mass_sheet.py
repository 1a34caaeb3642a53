"""
Chapter 2: The Vortex and the Mass Sheet
========================================

If dark matter is made of particles so light that their waves are as long as a galaxy is wide, a halo can be a condensate,
and a condensate that rotates is threaded by vortices: long thin strings. A vortex in front of a lensed arc bends it
differently than a round subhalo does. That is the science question this package began with.

In this chapter you meet the two kinds of mass that `autolens_ml` adds to PyAutoLens: the vortex, and the sheet. You see
what they do to an image, fit a vortex that is hidden in a lens, and let the evidence say whether it is there. Then you
see why a sheet of mass can never be seen in an image at all, which every modeller should have done once by hand.

__Contents__

- **The Vortex:** A finite string of dark matter, its convergence and its deflections.
- **With and Without:** What it does to an image, and how little of that the eye can see.
- **From Kiloparsecs:** Masses and lengths in the units of theory.
- **A Lattice:** Many vortices, as a rotating halo would have.
- **Fitting a Vortex:** Is it there? Two fits, two evidences.
- **The Mass Sheet:** Same images, another lens.
- **Exercise:** A question, and its answer.
- **Wrap Up:** What to take home.
"""

import autofit as af
import autolens as al
import autolens.plot as aplt
import matplotlib.pyplot as plt
import numpy as np

import autolens_ml as aml

"""
__The Vortex__

`aml.mp.VortexLine` is a straight string of mass with two ends, softened by a core. Its parameters are those that you
would guess from `al.mp`: `(y, x)` centre in arcsec, an angle counter-clockwise from the positive x-axis in degrees, and
an `einstein_radius`, which states its total mass: far away the string deflects as a point mass of this Einstein radius.

It has a closed form, so an image with a vortex costs about as much as one without. (A common way to make one, a hundred
point masses in a row, costs a hundred profiles and is lumpy near the string.)
"""

vortex = aml.mp.VortexLine(
    centre=(0.8, 0.6), position_angle=60.0, half_length=0.5, core_radius=0.05, einstein_radius=0.22
)

grid = al.Grid2D.uniform(shape_native=(200, 200), pixel_scales=0.02)
convergence = vortex.convergence_2d_from(grid=grid)
deflections = vortex.deflections_yx_2d_from(grid=grid)
deflection = al.Array2D(values=np.linalg.norm(deflections.array, axis=-1), mask=convergence.mask)

figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
log_convergence = al.Array2D(values=np.log10(convergence.array), mask=convergence.mask)
aplt.plot_array(array=log_convergence, ax=axes[0], title="Vortex: log10 convergence", cb_unit="")
aplt.plot_array(array=deflection, ax=axes[1], title="Vortex: deflection", cb_unit='"')

"""
Three checks, because a profile that you did not write deserves some. The mass on the grid should be pi times the square
of the Einstein radius, but for what lies outside; at a distance the deflection should be that of a point mass; and half
the divergence of the deflections must be the convergence.
"""

mass = np.sum(convergence.array) * 0.02**2
print(f"mass on the grid over pi einstein_radius^2: {mass / (np.pi * 0.22**2):.4f}")

far = al.Grid2DIrregular([(0.8 + 30.0, 0.6)])
point = al.mp.PointMass(centre=(0.8, 0.6), einstein_radius=0.22)
ratio = vortex.deflections_yx_2d_from(grid=far)[0, 0] / point.deflections_yx_2d_from(grid=far)[0, 0]
print(f"deflection 30 arcsec away over that of a point mass: {ratio:.5f}")

by_axis = deflections.native.array
divergence = np.gradient(by_axis[:, :, 0], -0.02, axis=0) + np.gradient(
    by_axis[:, :, 1], 0.02, axis=1
)
difference = np.abs(0.5 * divergence - convergence.native.array)[1:-1, 1:-1]
print(f"median of |div alpha / 2 - kappa| by finite differences: {np.median(difference):.1e}")

"""
__With and Without__

We put it beside the ring of an ordinary lens. The pixels are coarser now, as an instrument's are.
"""

image_grid = al.Grid2D.uniform(shape_native=(50, 50), pixel_scales=0.1, over_sample_size=4)
isothermal = al.mp.Isothermal(ell_comps=(0.05, 0.1), einstein_radius=1.3)
smooth_lens = al.Galaxy(redshift=0.5, mass=isothermal)
lens = al.Galaxy(redshift=0.5, mass=isothermal, vortex=vortex)
source = al.Galaxy(
    redshift=1.0,
    light=al.lp.ExponentialSph(centre=(0.05, 0.08), intensity=1.0, effective_radius=0.25),
)

smooth_image = al.Tracer([smooth_lens, source]).image_2d_from(grid=image_grid)
vortex_image = al.Tracer([lens, source]).image_2d_from(grid=image_grid)

figure, axes = plt.subplots(1, 3, figsize=(14.5, 4.2), layout="constrained")
vmax = float(np.max(smooth_image.array))
aplt.plot_array(array=smooth_image, ax=axes[0], title="Without vortex", vmax=vmax, cb_unit="")
aplt.plot_array(array=vortex_image, ax=axes[1], title="With vortex", vmax=vmax, cb_unit="")
style = {"colormap": "RdBu_r", "vmin": -0.5 * vmax, "vmax": 0.5 * vmax, "cb_unit": ""}
aplt.plot_array(array=vortex_image - smooth_image, ax=axes[2], title="Difference", **style)

"""
The difference looks easy to see. It is not, because nobody has the first image. A fit of a smooth model would move the
source and change the ellipticity of the lens until as much of the difference as possible is gone. The honest question is
what no smooth model can explain, and that is a question for the evidence.

__From Kiloparsecs__

Theory speaks of solar masses and kiloparsecs. `from_physical` takes them, with astropy units or as floats, and does the
conversion by angular-diameter distances, with PyAutoLens's cosmologies.
"""

physical = aml.mp.VortexLine.from_physical(
    mass=5.0e9,
    length_kpc=6.0,
    core_kpc=0.3,
    redshift_lens=0.5,
    redshift_source=1.0,
    centre=(0.8, 0.6),
    position_angle=60.0,
)
print(f"a vortex of 5e9 solar masses: Einstein radius {physical.einstein_radius:.3f} arcsec,")
print(f"6 kpc are {2.0 * physical.half_length:.2f} arcsec")

"""
A word of caution. A string of kiloparsecs that holds 5e9 solar masses is a generous toy: the mass that theory expects in
a vortex is far smaller. The profile takes what you give it, negative masses as well, since the core of a vortex is a
deficit.

__A Lattice__

A condensate that rotates quickly has many vortices, parallel to its spin. `aml.vortex_lattice` gives the profiles of all
of them as a dictionary, which a galaxy takes as its arguments. The number follows from the mass and radius of the halo and
from the mass of the particle.
"""

lattice = aml.vortex_lattice(
    halo_mass=1.0e12,
    halo_radius_kpc=60.0,
    particle_mass_ev=1.0e-24,
    redshift_lens=0.5,
    redshift_source=1.0,
    position_angle=30.0,
)
lattice_lens = al.Galaxy(redshift=0.5, **lattice)
wide = al.Grid2D.uniform(shape_native=(200, 200), pixel_scales=0.15)
lattice_convergence = lattice_lens.convergence_2d_from(grid=wide)
aplt.plot_array(
    array=al.Array2D(
        values=np.log10(np.maximum(lattice_convergence.array, 1e-5)), mask=lattice_convergence.mask
    ),
    title=f"{len(lattice)} vortices: log10 convergence",
    cb_unit="",
)
print(f"number of vortices: {len(lattice)}")

"""
__Fitting a Vortex__

Now the image as a telescope sees it, blurred and noisy.
"""

simulator = al.SimulatorImaging(
    exposure_time=500.0,
    psf=al.Convolver.from_gaussian(shape_native=(7, 7), pixel_scales=0.1, sigma=0.08),
    background_sky_level=0.2,
    noise_seed=1,
)
coarse_grid = al.Grid2D.uniform(shape_native=(50, 50), pixel_scales=0.1)
dataset = simulator.via_tracer_from(tracer=al.Tracer([lens, source]), grid=coarse_grid)
mask = al.Mask2D.circular(shape_native=(50, 50), pixel_scales=0.1, radius=2.3)
dataset = dataset.apply_mask(mask=mask).apply_over_sampling(over_sample_size_lp=2)
analysis = al.AnalysisImaging(dataset=dataset, use_jax=True)

aplt.plot_array(array=dataset.data, title="Data", cb_unit="e-/s")

"""
Two models: one smooth, one with a vortex near the disturbed side of the ring. We do not tell the second where exactly the
vortex is, in which direction it lies, or how heavy it is. The prior on its Einstein radius begins at zero, so the model
contains the smooth one.

A vortex is composed like any other profile.
"""


def model_with(**components):
    """A lens and source with priors as a first look at the image would set them."""
    mass = af.Model(al.mp.Isothermal)
    mass.centre.centre_0 = af.GaussianPrior(mean=0.0, sigma=0.05)
    mass.centre.centre_1 = af.GaussianPrior(mean=0.0, sigma=0.05)
    mass.einstein_radius = af.UniformPrior(lower_limit=1.1, upper_limit=1.5)
    light = af.Model(al.lp.ExponentialSph)
    light.centre.centre_0 = af.GaussianPrior(mean=0.0, sigma=0.2)
    light.centre.centre_1 = af.GaussianPrior(mean=0.0, sigma=0.2)
    light.intensity = af.LogUniformPrior(lower_limit=0.1, upper_limit=10.0)
    light.effective_radius = af.UniformPrior(lower_limit=0.05, upper_limit=1.0)
    return af.Collection(
        galaxies=af.Collection(
            lens=af.Model(al.Galaxy, redshift=0.5, mass=mass, **components),
            source=af.Model(al.Galaxy, redshift=1.0, light=light),
        )
    )


vortex_model = af.Model(aml.mp.VortexLine, half_length=0.5, core_radius=0.05)
vortex_model.centre.centre_0 = af.GaussianPrior(mean=0.8, sigma=0.3)
vortex_model.centre.centre_1 = af.GaussianPrior(mean=0.6, sigma=0.3)
vortex_model.einstein_radius = af.UniformPrior(lower_limit=0.0, upper_limit=0.6)

models = {"smooth": model_with(), "vortex": model_with(vortex=vortex_model)}
results = {}
for name, model in models.items():
    search = aml.CNN(
        path_prefix="howtolens_ml",
        name=name,
        unique_tag="chapter_2",
        network=None,
        n_effective=500,
        max_likelihood_calls=40_000,
        seed=3,
    )
    results[name] = search.fit(model=model, analysis=analysis)
    info = results[name].samples.samples_info
    print(
        f"{name}: {info['status']}, ln Z = {info['log_evidence']:.1f} "
        f"+- {info['log_evidence_error']:.2f}, {info['n_likelihood']:,} likelihoods"
    )

"""
First look at what is left of the data after each fit. The residuals, in units of the noise, should look like noise.
"""

style = {"colormap": "RdBu_r", "vmin": -5.0, "vmax": 5.0, "cb_unit": r"$\sigma$"}
figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
for ax, (name, result) in zip(axes, results.items(), strict=True):
    fit = result.max_log_likelihood_fit
    residuals = fit.normalized_residual_map
    aplt.plot_array(array=residuals, ax=ax, title=f"Residuals / noise, {name}", **style)
    reduced = float(fit.chi_squared) / dataset.data.array.size
    print(f"{name}: chi squared per pixel {reduced:.2f}")

"""
The smooth model fails in a way that the eye can see. Does the evidence agree, and did we get the right vortex?
"""

gain = results["vortex"].samples.log_evidence - results["smooth"].samples.log_evidence
samples = results["vortex"].samples
median = samples.median_pdf().galaxies.lens.vortex
low = samples.values_at_lower_sigma(sigma=3.0).galaxies.lens.vortex
high = samples.values_at_upper_sigma(sigma=3.0).galaxies.lens.vortex

print(f"ln Z, vortex minus smooth: {gain:+.1f}")
print(
    f"Einstein radius of the vortex: {median.einstein_radius:.4f} "
    f"({low.einstein_radius:.4f} to {high.einstein_radius:.4f} at 3 sigma); true 0.2200"
)

prefix = "galaxies.lens.vortex"
truth = {
    f"{prefix}.einstein_radius": 0.22,
    f"{prefix}.centre.centre_0": 0.8,
    f"{prefix}.centre.centre_1": 0.6,
}
aml.plot.corner(samples, "vortex.png", parameters=list(truth), truth=truth)
plt.figure(figsize=(6, 6))
plt.imshow(plt.imread("vortex.png"))
plt.axis("off")
plt.show()

"""
The evidence counts against the vortex model that it has four more parameters, and still prefers it by far. In a real
lens you would go on asking: would a subhalo do as well? Is the source more complex than we think? Chapter 8 makes a
survey of such questions.

__The Mass Sheet__

The second profile is a sheet of constant convergence, `aml.mp.MassSheet`. (PyAutoLens has one as well. Ours has the
potential that belongs to its deflections wherever its centre is, and can end at a radius.)

Take a lens, multiply its mass by lambda, add a sheet of convergence 1 - lambda, and shrink the source by lambda. Every
image stays where it was. No observation of positions and shapes can tell the two apart: this is the mass-sheet
degeneracy, and it is why Einstein radii are certain and masses inside other radii are not.

`aml.mass_sheet_transform` does it to real galaxies, light profiles of the source included.
"""

lambda_ = 0.8
transformed = aml.mass_sheet_transform([smooth_lens, source], lambda_=lambda_)
before = al.Tracer([smooth_lens, source])
after = al.Tracer(transformed)

image_before = before.image_2d_from(grid=image_grid)
image_after = after.image_2d_from(grid=image_grid)
largest = np.max(np.abs(image_after.array - image_before.array)) / np.max(image_before.array)
print(f"largest change of the image, relative to its peak: {largest:.1e}")

for name, profile in transformed[0].__dict__.items():
    if isinstance(profile, al.mp.MassProfile):
        print(f"the lens now has: {name} = {type(profile).__name__}")

"""
The images agree to rounding. The convergence does not agree at all:
"""

radii = np.linspace(0.2, 3.0, 60)
line = al.Grid2DIrregular(np.stack([np.zeros_like(radii), radii], axis=-1))
plt.figure(figsize=(6, 3.8), layout="constrained")
for tracer, label in ((before, "the lens"), (after, "lambda 0.8 of it, and a sheet of 0.2")):
    plt.plot(radii, np.array(tracer.convergence_2d_from(grid=line)), label=label)
plt.axvline(1.3, color="0.7", ls="--", label="Einstein radius")
plt.yscale("log")
plt.xlabel("Radius (arcsec)")
plt.ylabel("Convergence")
plt.legend()
plt.show()

"""
What does change is what is not in the image: the size of the source, its magnification, and time delays.
"""

place = al.Grid2DIrregular([(0.4, 1.45)])
magnification = [
    float(
        np.array(al.LensCalc.from_tracer(tracer).magnification_2d_via_hessian_from(grid=place))[0]
    )
    for tracer in (before, after)
]
print(
    f"magnification: {magnification[0]:.2f} and {magnification[1]:.2f}, "
    f"ratio {magnification[1] / magnification[0]:.3f}, 1 / lambda^2 = {1 / lambda_**2:.3f}"
)
sizes = [t.galaxies[-1].light.effective_radius for t in (before, after)]
print(f"effective radius of the source: {sizes[0]:.3f} and {sizes[1]:.3f} arcsec")

"""
So when a fit gives you a mass profile with tiny errors, remember where its slope comes from: from the shape that you
assumed, not from the image alone.

__Exercise__

How light a vortex could we still find in these data? Set the Einstein radius of the vortex in the simulation to half,
0.11", which is a quarter of the mass, and repeat the two fits. Guess the gain in ln Z before you run it.

The answer: the perturbation of the image goes with the deflection, which is proportional to the *mass*, the square of
the Einstein radius. The gain goes with the square of the perturbation. So expect a sixteenth of the gain from before, and
some less, since a smooth model hides a small perturbation better.
"""

light_vortex = aml.mp.VortexLine(
    centre=(0.8, 0.6), position_angle=60.0, half_length=0.5, core_radius=0.05, einstein_radius=0.11
)
light_lens = al.Galaxy(redshift=0.5, mass=isothermal, vortex=light_vortex)
light_dataset = simulator.via_tracer_from(tracer=al.Tracer([light_lens, source]), grid=coarse_grid)
light_dataset = light_dataset.apply_mask(mask=mask).apply_over_sampling(over_sample_size_lp=2)
light_analysis = al.AnalysisImaging(dataset=light_dataset, use_jax=True)

evidences = {}
for name, model in models.items():
    search = aml.CNN(
        path_prefix="howtolens_ml",
        name=f"light_{name}",
        unique_tag="chapter_2",
        network=None,
        n_effective=500,
        max_likelihood_calls=40_000,
        seed=3,
    )
    light_samples = search.fit(model=model, analysis=light_analysis).samples
    evidences[name] = light_samples.log_evidence
    print(
        f"{name}: {light_samples.samples_info['status']}, ln Z = {light_samples.log_evidence:.1f}"
    )

light_gain = evidences["vortex"] - evidences["smooth"]
print(f"gain in ln Z: {light_gain:+.1f}; a sixteenth of the one before is {gain / 16:+.1f}")

"""
__Wrap Up__

You composed a vortex like any mass profile, fitted it, and asked the evidence whether it is there. And you have made a
lens that no image can tell from another one.

So far we started searches from priors. In the next chapter you train a network for your own model and telescope, so that
they start where the answer is.
"""
