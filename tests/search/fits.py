"""One small, fast problem for every kind of fit PyAutoLens has, simulated with fixed seeds.

Each function returns a `Fit`. Priors are as wide as a modeller's after a first look at the data:
wide enough that the posterior is not the prior, narrow enough that random draws find the lens.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import autofit as af
import autolens as al
import numpy as np

REDSHIFT_LENS, REDSHIFT_SOURCE = 0.5, 1.0
PIXEL_SCALE, MASK_RADIUS = 0.1, 1.6
CENTRE, ELL_COMPS, EINSTEIN_RADIUS = (0.0, 0.0), (0.08, -0.05), 1.0
SOURCE_CENTRE = (0.06, -0.09)


@dataclass(frozen=True)
class Fit:
    """A model, an analysis, and the values the data was simulated with.

    Attributes
    ----------
    truth
        True values by model path. A parameter that has none (the shape of a multi-Gaussian basis, a
        regularisation coefficient) is absent.
    """

    model: Any
    analysis: Any
    truth: dict[tuple[str, ...], float]


def _isothermal() -> al.mp.Isothermal:
    return al.mp.Isothermal(centre=CENTRE, ell_comps=ELL_COMPS, einstein_radius=EINSTEIN_RADIUS)


def _exponential(intensity: float = 2.0) -> al.lp.ExponentialSph:
    return al.lp.ExponentialSph(centre=SOURCE_CENTRE, intensity=intensity, effective_radius=0.15)


def _lens_light() -> al.lp.SersicSph:
    return al.lp.SersicSph(centre=CENTRE, intensity=1.0, effective_radius=0.4, sersic_index=2.0)


def _imaging(light: Any = None, source: Any = None, seed: int = 1) -> al.Imaging:
    """Simulate 36 x 36 pixels with a Gaussian PSF and cut the mask."""
    # Neither simulated nor fitted with over-sampling: the truth is then exactly in the model.
    grid = al.Grid2D.uniform(shape_native=(36, 36), pixel_scales=PIXEL_SCALE, over_sample_size=1)
    lens = {"bulge": light} if light is not None else {}
    tracer = al.Tracer(
        galaxies=[
            al.Galaxy(redshift=REDSHIFT_LENS, mass=_isothermal(), **lens),
            al.Galaxy(redshift=REDSHIFT_SOURCE, bulge=source or _exponential()),
        ]
    )
    psf = al.Convolver.from_gaussian(
        shape_native=(5, 5), sigma=PIXEL_SCALE, pixel_scales=PIXEL_SCALE, normalize=True
    )
    # Many counts from the sky: the noise map is made from the data, and few would bias the fit.
    dataset = al.SimulatorImaging(
        exposure_time=1000.0,
        psf=psf,
        background_sky_level=10.0,
        add_poisson_noise_to_data=True,
        noise_seed=seed,
    ).via_tracer_from(tracer=tracer, grid=grid)
    mask = al.Mask2D.circular(
        shape_native=dataset.shape_native, pixel_scales=PIXEL_SCALE, radius=MASK_RADIUS
    )
    return dataset.apply_mask(mask=mask).apply_over_sampling(
        over_sample_size_lp=1, over_sample_size_pixelization=4
    )


def _mass_model(free_ell_comps: bool = True) -> af.Model:
    mass = af.Model(al.mp.Isothermal)
    mass.centre = CENTRE
    mass.einstein_radius = af.UniformPrior(0.7, 1.3)
    if free_ell_comps:
        mass.ell_comps.ell_comps_0 = af.GaussianPrior(mean=0.0, sigma=0.15)
        mass.ell_comps.ell_comps_1 = af.GaussianPrior(mean=0.0, sigma=0.15)
    else:
        mass.ell_comps = ELL_COMPS
    return mass


def _mass_truth(prefix: tuple[str, ...] = ()) -> dict[tuple[str, ...], float]:
    path = (*prefix, "galaxies", "lens", "mass")
    return {
        (*path, "ell_comps", "ell_comps_0"): ELL_COMPS[0],
        (*path, "ell_comps", "ell_comps_1"): ELL_COMPS[1],
        (*path, "einstein_radius"): EINSTEIN_RADIUS,
    }


def _centre_truth(
    *path: str, prefix: tuple[str, ...] = (), centre: tuple[float, float] = SOURCE_CENTRE
) -> dict[tuple[str, ...], float]:
    path = (*prefix, "galaxies", "source", *path, "centre")
    return {(*path, "centre_0"): centre[0], (*path, "centre_1"): centre[1]}


def _bulge_model(cls: type) -> af.Model:
    bulge = af.Model(cls)
    bulge.centre.centre_0 = af.UniformPrior(-0.3, 0.3)
    bulge.centre.centre_1 = af.UniformPrior(-0.3, 0.3)
    bulge.effective_radius = af.UniformPrior(0.05, 0.4)
    if hasattr(bulge, "intensity"):
        bulge.intensity = af.LogUniformPrior(0.2, 20.0)
    return bulge


def _model(lens: dict[str, Any], source: dict[str, Any]) -> af.Collection:
    return af.Collection(
        galaxies=af.Collection(
            lens=af.Model(al.Galaxy, redshift=REDSHIFT_LENS, **lens),
            source=af.Model(al.Galaxy, redshift=REDSHIFT_SOURCE, **source),
        )
    )


def _light_truth(prefix: tuple[str, ...] = ()) -> dict[tuple[str, ...], float]:
    bulge = (*prefix, "galaxies", "source", "bulge")
    return {
        **_mass_truth(prefix),
        **_centre_truth("bulge", prefix=prefix),
        (*bulge, "intensity"): 2.0,
        (*bulge, "effective_radius"): 0.15,
    }


def imaging(use_jax: bool = True) -> Fit:
    """Imaging with standard light profiles: 7 free parameters."""
    model = _model({"mass": _mass_model()}, {"bulge": _bulge_model(al.lp.ExponentialSph)})
    return Fit(model, al.AnalysisImaging(dataset=_imaging(), use_jax=use_jax), _light_truth())


def imaging_numpy() -> Fit:
    """The same fit on a numpy analysis, which has no gradient."""
    return imaging(use_jax=False)


def imaging_linear() -> Fit:
    """Imaging with linear light of lens and source, solved inside the likelihood: 6 parameters."""
    light = af.Model(al.lp_linear.SersicSph, centre=CENTRE, effective_radius=0.4, sersic_index=2.0)
    model = _model(
        {"mass": _mass_model(), "bulge": light},
        {"bulge": _bulge_model(al.lp_linear.ExponentialSph)},
    )
    truth = _light_truth()
    del truth["galaxies", "source", "bulge", "intensity"]
    return Fit(model, al.AnalysisImaging(dataset=_imaging(_lens_light(), seed=2)), truth)


def imaging_multi_gaussian() -> Fit:
    """Imaging with a source of eight linear Gaussians: 5 parameters."""
    basis = al.model_util.mge_model_from(
        mask_radius=MASK_RADIUS,
        total_gaussians=8,
        centre_prior_is_uniform=False,
        sigma_min=0.01,
        use_spherical=True,
    )
    model = _model({"mass": _mass_model()}, {"bulge": basis})
    # The Gaussians share one centre, so the path of any of them will do.
    truth = {**_mass_truth(), **_centre_truth("bulge", "profile_list", "0")}
    return Fit(model, al.AnalysisImaging(dataset=_imaging(seed=3)), truth)


def imaging_pixelized() -> Fit:
    """Imaging with a source on a rectangular mesh, whose figure of merit is an evidence.

    The source is larger and fainter than elsewhere, so that so few mesh pixels resolve it.
    """
    source = al.lp.ExponentialSph(centre=SOURCE_CENTRE, intensity=0.3, effective_radius=0.35)
    pixelization = af.Model(
        al.Pixelization,
        mesh=al.mesh.RectangularUniform(shape=(12, 12)),
        regularization=af.Model(al.reg.Constant, coefficient=af.LogUniformPrior(1e-2, 1e2)),
    )
    model = _model({"mass": _mass_model()}, {"pixelization": pixelization})
    dataset = _imaging(source=source, seed=4)
    # The priors exclude the demagnified solutions that positions would otherwise have to.
    analysis = al.AnalysisImaging(
        dataset=dataset, raise_inversion_positions_likelihood_exception=False
    )
    return Fit(model, analysis, _mass_truth())


def interferometer() -> Fit:
    """Two hundred visibilities by a direct Fourier transform: 7 parameters."""
    mask = al.Mask2D.circular(shape_native=(36, 36), pixel_scales=PIXEL_SCALE, radius=MASK_RADIUS)
    # Baselines up to the frequency at which the pixel grid still samples the sky.
    longest = 0.25 / (PIXEL_SCALE * np.pi / (180.0 * 3600.0))
    uv_wavelengths = np.random.default_rng(5).normal(scale=longest / 2, size=(200, 2))
    tracer = al.Tracer(
        galaxies=[
            al.Galaxy(redshift=REDSHIFT_LENS, mass=_isothermal()),
            al.Galaxy(redshift=REDSHIFT_SOURCE, bulge=_exponential()),
        ]
    )
    simulated = al.SimulatorInterferometer(
        uv_wavelengths=uv_wavelengths,
        exposure_time=300.0,
        noise_sigma=2.0,
        transformer_class=al.TransformerDFT,
        noise_seed=5,
    ).via_tracer_from(tracer=tracer, grid=al.Grid2D.from_mask(mask=mask, over_sample_size=1))
    dataset = al.Interferometer(
        data=simulated.data,
        noise_map=simulated.noise_map,
        uv_wavelengths=uv_wavelengths,
        real_space_mask=mask,
        transformer_class=al.TransformerDFT,
    )
    model = _model({"mass": _mass_model()}, {"bulge": _bulge_model(al.lp.ExponentialSph)})
    return Fit(model, al.AnalysisInterferometer(dataset=dataset), _light_truth())


def point_source() -> Fit:
    """Four image positions of a quasar, the lens equation solved for each model: 5 parameters."""
    centre = (0.02, 0.03)  # inside the caustic that makes four images
    grid = al.Grid2D.uniform(shape_native=(40, 40), pixel_scales=PIXEL_SCALE)
    solver = al.PointSolver.for_grid(grid=grid, pixel_scale_precision=0.001)
    tracer = al.Tracer(
        galaxies=[
            al.Galaxy(redshift=REDSHIFT_LENS, mass=_isothermal()),
            al.Galaxy(redshift=REDSHIFT_SOURCE, point_0=al.ps.Point(centre=centre)),
        ]
    )
    positions = np.asarray(solver.solve(tracer=tracer, source_plane_coordinate=centre))
    sigma = 0.02
    noise = np.random.default_rng(6).normal(scale=sigma, size=positions.shape)
    dataset = al.PointDataset(
        name="point_0",
        positions=al.Grid2DIrregular(positions + noise),
        positions_noise_map=sigma,
    )
    point = af.Model(al.ps.Point)
    point.centre.centre_0 = af.UniformPrior(-0.3, 0.3)
    point.centre.centre_1 = af.UniformPrior(-0.3, 0.3)
    model = _model({"mass": _mass_model()}, {"point_0": point})
    analysis = al.AnalysisPoint(
        dataset=dataset, solver=solver, fit_positions_cls=al.FitPositionsImagePairAll
    )
    return Fit(model, analysis, {**_mass_truth(), **_centre_truth("point_0", centre=centre)})


def weak_lensing() -> Fit:
    """A catalogue of 300 sheared galaxies behind a cluster-sized isothermal lens: 3 parameters."""
    centre, einstein_radius = (2.0, -1.0), 15.0
    tracer = al.Tracer(
        galaxies=[
            al.Galaxy(
                redshift=REDSHIFT_LENS,
                mass=al.mp.IsothermalSph(centre=centre, einstein_radius=einstein_radius),
            ),
            al.Galaxy(redshift=REDSHIFT_SOURCE),
        ]
    )
    dataset = al.SimulatorShearYX(noise_sigma=0.2, seed=7).via_tracer_random_positions_from(
        tracer=tracer, n_galaxies=300, grid_extent=60.0
    )
    mass = af.Model(al.mp.IsothermalSph)
    mass.centre.centre_0 = af.GaussianPrior(mean=0.0, sigma=5.0)
    mass.centre.centre_1 = af.GaussianPrior(mean=0.0, sigma=5.0)
    mass.einstein_radius = af.UniformPrior(2.0, 40.0)
    model = _model({"mass": mass}, {})
    path = ("galaxies", "lens", "mass")
    truth = {
        (*path, "centre", "centre_0"): centre[0],
        (*path, "centre", "centre_1"): centre[1],
        (*path, "einstein_radius"): einstein_radius,
    }
    return Fit(model, al.AnalysisWeak(dataset=dataset, use_jax=True), truth)


def several_datasets() -> Fit:
    """Two bands in a factor graph: one lens, a source intensity for each band, 6 parameters."""
    first = _model(
        {"mass": _mass_model(free_ell_comps=False)},
        {"bulge": _bulge_model(al.lp.ExponentialSph)},
    )
    second = first.copy()
    second.galaxies.source.bulge.intensity = af.LogUniformPrior(0.2, 20.0)
    graph = af.FactorGraphModel(
        af.AnalysisFactor(prior_model=first, analysis=al.AnalysisImaging(dataset=_imaging(seed=8))),
        af.AnalysisFactor(
            prior_model=second,
            analysis=al.AnalysisImaging(dataset=_imaging(source=_exponential(4.0), seed=9)),
        ),
    )
    truth = {
        path: value
        for index, intensity in (("0", 2.0), ("1", 4.0))
        for path, value in {
            **_light_truth((index,)),
            (index, "galaxies", "source", "bulge", "intensity"): intensity,
        }.items()
        if "ell_comps" not in path
    }
    return Fit(graph.global_prior_model, graph, truth)


FITS: dict[str, Callable[[], Fit]] = {
    function.__name__: function
    for function in (
        imaging,
        imaging_numpy,
        imaging_linear,
        imaging_multi_gaussian,
        imaging_pixelized,
        interferometer,
        point_source,
        weak_lensing,
        several_datasets,
    )
}
