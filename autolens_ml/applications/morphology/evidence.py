"""From a flag to an answer: a lens fitted with and without a vortex, and what the evidence says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import autofit as af
import autolens as al
import numpy as np

from autolens_ml.applications.fit import FitReport, finely_sampled, fit_imaging
from autolens_ml.applications.fit.progress import Progress
from autolens_ml.applications.morphology.look import Looked
from autolens_ml.applications.morphology.observed import (
    SAME_SCALE,
    ObservedLens,
    batch_of,
    lens_from,
)
from autolens_ml.exceptions import AutolensMLError, DataError, OptionError
from autolens_ml.inference.importance import Status
from autolens_ml.networks.architectures import kept_network
from autolens_ml.networks.checkpoint import Card, cards
from autolens_ml.profiles.mass import VortexLineComps
from autolens_ml.simulate.instrument import Instrument
from autolens_ml.simulate.morphology.settings import (
    REDSHIFTS,
    Setting,
    einstein_radii_from,
    masses_from,
)
from autolens_ml.training.morphology_vortex import TASK, parameters_from
from autolens_ml.training.morphology_vortex_accuracy import setting_of, vortex_draws

__all__ = [
    "DECISIVE",
    "SUB_PIXELS",
    "VortexEvidence",
    "compare_flagged",
    "compare_vortex",
    "dataset_from",
    "lens_model",
    "setting_model",
    "vortex_parameters",
    "vortex_seen",
]

# Ln of a Bayes factor of 100. Without a vortex the mean Bayes factor for one is 1, so at most one
# lens in a hundred exceeds it (Markov's inequality).
DECISIVE = float(np.log(100.0))
# Priors of a vortex: scatter of its middle and of components of its length [arcsec], and the
# largest mass, which has an Einstein radius of 0.5 arcsec.
_OFFSET, _HALF_LENGTH, _CORE_RADIUS, _MASS = 0.5, 0.5, 0.05, 0.25 * np.pi
_VORTEX = "galaxies.lens.vortex"
_ELL_COMPS = ("ell_comps_0", "ell_comps_1")
# Per side of a bright pixel: strings bend light by what changes within a pixel.
SUB_PIXELS = 4
# Effective samples of a fit: ln Z is then good to 0.1, and a threshold of 4.6 asks for no more.
_N_EFFECTIVE = 500
# Where a fit with a vortex starts: what is all of a prior, and all of the posterior of a network.
_WHOLE_PRIOR, _SEEN = (0.001, 0.999), (0.01, 0.99)
_N_DRAWS = 500


@dataclass(frozen=True)
class VortexEvidence:
    """What fits with and without a vortex say.

    Attributes
    ----------
    name : str
        Of the lens.
    smooth, vortex : FitReport or None
        Of the two fits.
    error : str
        Why there are none, in one line.
    """

    name: str
    smooth: FitReport | None = None
    vortex: FitReport | None = None
    error: str = ""

    @property
    def log_bayes_factor(self) -> float:
        """Ln of the evidence with a vortex over that without; NaN where a fit has none."""
        found = [report and report.log_evidence for report in (self.vortex, self.smooth)]
        return float(found[0] - found[1]) if None not in found else np.nan

    @property
    def log_bayes_factor_error(self) -> float:
        """Its standard error."""
        errors = [report and report.log_evidence_error for report in (self.vortex, self.smooth)]
        return float(np.hypot(*errors)) if None not in errors else np.nan

    @property
    def verdict(self) -> str:
        """In words."""
        if self.error:
            return self.error
        difference = self.log_bayes_factor
        if not np.isfinite(difference):
            return "no evidence: a fit was not finished"
        words = "no vortex is needed"
        if difference > DECISIVE:
            mass = self.mass()
            words = "a vortex"
            words += (
                "" if mass is None else " of {:.1e} ({:.1e} to {:.1e}) solar masses".format(*mass)
            )
        statuses = sorted({report.status or "" for report in (self.smooth, self.vortex)})
        if Status.FAILED in statuses:
            words = "not to be relied on, raise max_likelihood_calls or fit by af.Nautilus"
        return (
            f"ln evidence with a vortex minus without: {difference:+.1f} +- "
            f"{self.log_bayes_factor_error:.1f}: {words} ({', '.join(statuses)})"
        )

    def mass(self) -> tuple[float, float, float] | None:
        """Median and bounds that hold 68 per cent of the mass of the vortex [solar masses]."""
        for parameter in self.vortex.parameters if self.vortex else ():
            if parameter.path == f"{_VORTEX}.mass_angular":
                angular = (
                    parameter.median,
                    parameter.median - parameter.error_minus,
                    parameter.median + parameter.error_plus,
                )
                radii = np.sqrt(np.array(angular) / np.pi)
                return tuple(float(m) for m in masses_from(radii))
        return None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "name": self.name,
            "log_bayes_factor": self.log_bayes_factor,
            "log_bayes_factor_error": self.log_bayes_factor_error,
            "verdict": self.verdict,
            "mass": self.mass(),
            "smooth": self.smooth and self.smooth.as_dict(),
            "vortex": self.vortex and self.vortex.as_dict(),
            "error": self.error,
        }


def lens_model(with_vortex: bool, einstein_radius: float = 1.5) -> af.Collection:
    """An isothermal ellipsoid with shear and a Sersic source, with a vortex or without.

    Parameters
    ----------
    with_vortex
        Whether there is one, in the middle but for 0.5", of any direction.
    einstein_radius
        About which that of the lens is [arcsec].
    """
    mass = af.Model(al.mp.Isothermal)
    for centre in ("centre_0", "centre_1"):
        setattr(mass.centre, centre, af.GaussianPrior(mean=0.0, sigma=0.05))
    for name in _ELL_COMPS:
        prior = af.TruncatedGaussianPrior(mean=0.0, sigma=0.2, lower_limit=-0.7, upper_limit=0.7)
        setattr(mass.ell_comps, name, prior)
    mass.einstein_radius = af.UniformPrior(
        lower_limit=0.6 * einstein_radius, upper_limit=1.4 * einstein_radius
    )
    shear = af.Model(al.mp.ExternalShear)
    shear.gamma_1 = af.GaussianPrior(mean=0.0, sigma=0.07)
    shear.gamma_2 = af.GaussianPrior(mean=0.0, sigma=0.07)
    light = af.Model(al.lp_linear.Sersic)
    for centre in ("centre_0", "centre_1"):
        setattr(light.centre, centre, af.GaussianPrior(mean=0.0, sigma=0.3))
    for name in _ELL_COMPS:
        prior = af.TruncatedGaussianPrior(mean=0.0, sigma=0.3, lower_limit=-0.7, upper_limit=0.7)
        setattr(light.ell_comps, name, prior)
    light.effective_radius = af.LogUniformPrior(lower_limit=0.05, upper_limit=1.0)
    light.sersic_index = af.UniformPrior(lower_limit=0.5, upper_limit=4.0)
    parts = {"mass": mass, "shear": shear}
    if with_vortex:
        mass_angular = af.UniformPrior(lower_limit=0.0, upper_limit=_MASS)
        parts["vortex"] = _vortex(mass_angular, _OFFSET, _CORE_RADIUS)
    return _lens_and_source(parts, light)


def setting_model(setting: Setting, with_vortex: bool) -> af.Collection:
    """The lenses of a setting as a model, whose priors are what there is to know of them.

    The mass of the vortex is missing in the halo. Directions and lengths have the priors of
    `lens_model`, and the flux of the source is free.

    Parameters
    ----------
    setting
        Whose sources are Sersic profiles.
    with_vortex
        Whether there is one.

    Raises
    ------
    OptionError
        When sources of the setting are pictures.
    """
    if setting.stamps is not None:
        raise OptionError(f"setting {setting.name!r}: its sources are pictures, not profiles")
    mass = af.Model(al.mp.Isothermal, centre=(0.0, 0.0))
    shear = af.Model(al.mp.ExternalShear)
    light = af.Model(al.lp_linear.Sersic)
    for part, names, means, sigma in (
        (mass.ell_comps, _ELL_COMPS, setting.ell_comps, setting.ell_comps_scatter),
        (shear, ("gamma_1", "gamma_2"), setting.shear, setting.shear_scatter),
        (light.ell_comps, _ELL_COMPS, setting.source_ell_comps, setting.source_ell_comps_scatter),
    ):
        for name, mean in zip(names, means, strict=True):
            setattr(part, name, af.GaussianPrior(mean=mean, sigma=sigma))
    offset = setting.source_offset
    for part, name, (low, high) in (
        (light.centre, "centre_0", (-offset, offset)),
        (light.centre, "centre_1", (-offset, offset)),
        (light, "effective_radius", setting.source_radius),
        (light, "sersic_index", setting.source_index),
    ):
        setattr(part, name, af.UniformPrior(lower_limit=low, upper_limit=high))
    radius = float(einstein_radii_from(setting.halo_mass))
    # Areas within Einstein radii are as masses, whose scatter is a small one in dex.
    total = af.GaussianPrior(mean=radius, sigma=0.5 * np.log(10.0) * setting.halo_scatter * radius)
    mass.einstein_radius = total
    parts = {"mass": mass, "shear": shear}
    if with_vortex:
        low, high = (np.pi * share * radius**2 for share in setting.vortex_share)
        mass_angular = af.LogUniformPrior(lower_limit=low, upper_limit=high)
        parts["vortex"] = _vortex(mass_angular, setting.vortex_offset, setting.core_radius)
        mass.einstein_radius = (total**2 - mass_angular / np.pi) ** 0.5
    return _lens_and_source(parts, light)


def _vortex(mass_angular: af.Prior, offset: float, core_radius: float) -> af.Model:
    vortex = af.Model(VortexLineComps, core_radius=core_radius, mass_angular=mass_angular)
    for centre in ("centre_0", "centre_1"):
        setattr(vortex.centre, centre, af.GaussianPrior(mean=0.0, sigma=offset))
    for component in ("length_comps_0", "length_comps_1"):
        prior = af.GaussianPrior(mean=0.0, sigma=_HALF_LENGTH)
        setattr(vortex.length_comps, component, prior)
    return vortex


def _lens_and_source(parts: Mapping[str, af.Model], light: af.Model) -> af.Collection:
    lens_redshift, source_redshift = REDSHIFTS
    lens = af.Model(al.Galaxy, redshift=lens_redshift, **parts)
    source = af.Model(al.Galaxy, redshift=source_redshift, bulge=light)
    return af.Collection(galaxies=af.Collection(lens=lens, source=source))


def dataset_from(lens: ObservedLens, instrument: Instrument) -> al.Imaging:
    """A lens as the dataset that PyAutoLens fits, masked to where it has light.

    A file that had a PSF and a noise map is fitted as it is, not as a network saw it.
    """
    from autolens_ml.applications.finder.chain import chosen_mask_radius

    dataset = lens.dataset
    if dataset is None:
        dataset = instrument.imaging_from(lens.image, lens.noise, lens.psf_fwhm)
    mask = al.Mask2D.circular(
        shape_native=dataset.shape_native,
        pixel_scales=dataset.pixel_scales,
        radius=chosen_mask_radius(dataset),
    )
    return finely_sampled(dataset.apply_mask(mask=mask), SUB_PIXELS)


def compare_vortex(
    lens: ObservedLens,
    instrument: Instrument,
    *,
    output: str | Path = "output",
    seed: int | None = None,
    max_likelihood_calls: int | None = None,
    models: tuple[af.Collection, af.Collection] | None = None,
    truth: Mapping[str, float] | None = None,
    progress: Progress = lambda line: None,
) -> VortexEvidence:
    """Fit one lens by `aml.CNN` with and without a vortex.

    The second fit starts where the first ended, with a vortex where a network sees it.

    Parameters
    ----------
    lens
        An observed lens without lens light.
    instrument
        Whose grid it is on.
    output, seed, max_likelihood_calls
        Of the searches.
    models
        Without and with a vortex; by default those of `lens_model`.
    truth
        True values by parameter path, of simulated lenses.
    progress
        Takes a line at a time.
    """
    dataset = dataset_from(lens, instrument)
    reports: list[FitReport] = []
    seen = vortex_seen(lens, instrument, seed or 0)
    models = models or (lens_model(False), lens_model(True))
    for words, model in zip(("without", "with"), models, strict=True):
        progress(f"{lens.name}: fitting {words} a vortex")
        reports.append(
            fit_imaging(
                dataset,
                model,
                name=f"{Path(lens.name).stem}-{words}-vortex",
                output=output,
                seed=seed,
                n_effective=_N_EFFECTIVE,
                max_likelihood_calls=max_likelihood_calls,
                initializer=_starting_at(reports[0], model, seen) if reports else None,
                truth=truth,
                progress=progress,
            )
        )
    return VortexEvidence(lens.name, *reports)


def _starting_at(
    report: FitReport, model: af.Collection, seen: Mapping[str, tuple[float, float]]
) -> af.InitializerParamBounds:
    """Where an earlier fit ended and a network sees a vortex, and all of the prior of the rest."""
    known = dict(seen)
    for parameter in report.parameters:
        low, high = parameter.error_minus, parameter.error_plus
        known[parameter.path] = (parameter.median - low, parameter.median + high)
    bounds = {}
    for name, prior in zip(
        model.model_component_and_parameter_names, model.priors_ordered_by_id, strict=True
    ):
        least, most = (prior.value_for(share) for share in _WHOLE_PRIOR)
        low, high = known.get(name, (least, most))
        low, high = max(low, least), min(high, most)
        bounds[prior] = (low, high) if low < high else (least, most)
    return af.InitializerParamBounds(bounds)


def vortex_seen(
    lens: ObservedLens, instrument: Instrument, seed: int
) -> dict[str, tuple[float, float]]:
    """Where a network for vortices sees the vortex of a lens.

    Parameters
    ----------
    lens
        On the grid of an instrument.
    instrument
        Whose pixels it has.
    seed
        Of the draws.

    Returns
    -------
    dict
        Bounds that hold 98 per cent of the posterior, by the paths of `lens_model`; none where no
        network takes such images.
    """
    fitting = (
        card
        for card in cards(TASK)
        if tuple(card.inputs["shape"]) == lens.image.shape
        and abs(card.inputs["pixel_scale"] / instrument.pixel_scale - 1.0) < SAME_SCALE
    )
    card = next(fitting, None)
    if card is None:
        return {}
    setting = setting_of(card)
    batch = batch_of([lens], instrument.pixel_scale)
    draws = vortex_draws(kept_network(card), batch, _N_DRAWS, seed)[0]
    y, x, log_mass, log_length, angle = parameters_from(draws, setting).T
    columns = vortex_parameters(y, x, angle, 10.0**log_length, einstein_radii_from(10.0**log_mass))
    return {
        path: tuple(float(q) for q in np.quantile(column, _SEEN))
        for path, column in columns.items()
    }


def vortex_parameters(
    y: np.ndarray,
    x: np.ndarray,
    position_angle: np.ndarray,
    half_length: np.ndarray,
    einstein_radius: np.ndarray,
) -> dict[str, np.ndarray]:
    """Parameters of vortices by the paths of `lens_model`.

    Parameters
    ----------
    y, x, position_angle, half_length, einstein_radius
        As of `aml.mp.VortexLine`, all of one shape.
    """
    twice = np.radians(2.0 * position_angle)
    values = {
        "centre_0": y,
        "centre_1": x,
        "length_comps_0": half_length * np.sin(twice),
        "length_comps_1": half_length * np.cos(twice),
        "mass_angular": np.pi * einstein_radius**2,
    }
    return {f"{_VORTEX}.{name}": value for name, value in values.items()}


def compare_flagged(
    rows: Sequence[Looked],
    card: Card,
    *,
    pixel_scale: float | None = None,
    band: str | None = None,
    psf: str | Path | None = None,
    noise_map: str | Path | None = None,
    output: str | Path = "output",
    seed: int | None = None,
    max_likelihood_calls: int | None = None,
    progress: Progress = lambda line: None,
) -> list[VortexEvidence]:
    """Fit every flagged lens of a report with and without a vortex; one that fails ends nothing."""
    instrument, found = Instrument.from_dict(card.instrument), []
    for row in rows:
        try:
            lens = lens_from(row.name, card, pixel_scale, band, psf=psf, noise_map=noise_map)
            found.append(
                compare_vortex(
                    lens,
                    instrument,
                    output=output,
                    seed=seed,
                    max_likelihood_calls=max_likelihood_calls,
                    progress=progress,
                )
            )
        except (AutolensMLError, DataError) as error:
            found.append(VortexEvidence(row.name, error=" ".join(str(error).split())))
    return found
