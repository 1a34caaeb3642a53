"""Presets for a user's own model and data: what ``autolens-ml train --model --like`` trains."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import autofit as af
import autolens as al
import numpy as np
from autogalaxy.profiles.light.linear import LightProfileLinear
from autogalaxy.profiles.light.operated import LightProfileOperated
from autogalaxy.profiles.mass.abstract.abstract import MassProfile

from autolens_ml.exceptions import DataError, DataWarning, ModelError
from autolens_ml.simulate.description import population_from, renumbered
from autolens_ml.simulate.instrument import Instrument
from autolens_ml.simulate.observation import Observation, observation_from
from autolens_ml.training.preset import Preset, TrainingOptions

# Sides of images [px], which are multiples of the first, and all of which networks take.
_STEP, _SMALLEST, _LARGEST = 8, 64, 192
# Around the values of the dataset: shares of its PSF width, factors on its exposure.
_PSF_RANGE = (0.85, 1.15)
_EXPOSURE_RANGE = (0.5, 2.0)
# RMS noise of an empty pixel in electrons where the image does not tell, and where its noise does
# not grow with brightness.
_TYPICAL_BACKGROUND, _LARGE_BACKGROUND = 100.0, 1e4
# Free intensities in units of the RMS of an empty pixel: from hardly seen to the brightest pixel.
_FAINTEST, _LEAST_BRIGHT = 0.1, 30.0
_SERSIC_INDEX = (0.5, 5.0)
# Largest effective radius, as a share of the image's side.
_LARGEST_RADIUS = 0.25
# Pixels this coarse [arcsec] have more structure in them than 2 x 2 sub-pixels show.
_COARSE = 0.2
# Of images that have what real ones have.
_SHARES = {"masked": 0.5, "uneven_depth": 0.3, "resampled": 0.5, "photon_spread": 4.0}
# Flips and turns that answers are averaged over: all that the model has.
_N_ORIENTATIONS = 8
# Bytes of the training set.
_SET_SIZE = 4e9


def preset_for(
    model: Any,
    dataset: Any,
    name: str,
    training: TrainingOptions | None = None,
    seed: int = 1,
) -> Preset:
    """The preset of a network for all parameters of a model, on data like a dataset.

    The lenses of the training set have the priors of the model, seen with pixels, PSF, depth and
    noise of the dataset. What only a fit determines, or is in the units of the data, is replaced:

    - linear light profiles by the ordinary profiles of the same name, and bases of profiles, such
      as multi-Gaussian expansions, by one Sersic profile with the centre and ellipticity of their
      first one, whose paths the network's proposals are matched by. Their intensities are
      log-uniform from a tenth of the RMS of an empty pixel to the brightest pixel of the dataset;
    - intensities of other light by the same in units of the RMS of an empty pixel. Log-uniform
      priors are cut to that range where they overlap with it: the rest would be lenses of which
      nothing, or nothing else, can be seen;
    - assertions are left out: a network that proposes lenses which they forbid is none the worse.

    Parameters
    ----------
    model
        An ``af.Collection`` with ``galaxies`` at fixed redshifts.
    dataset
        An ``al.Imaging``, masked or not, with the lens in the middle.
    name
        Of the network.
    training
        By default that of `TrainingOptions`, with fewer lenses where images are large.
    seed
        Of simulation and training.

    Raises
    ------
    ModelError
        When the model cannot be simulated, or an intensity has a prior that cannot be converted.
    DataError
        When the dataset is not imaging data, or has no usable noise or PSF.

    Warns
    -----
    DataWarning
        When the mask is larger than the images that networks take.
    """
    side = _side_of(dataset)
    scale = float(dataset.pixel_scales[0])
    observed = observation_from(dataset, (side, side), scale)
    simulated = _simulated(model, observed, side * scale)
    population = {
        "model": renumbered(simulated.dict(), without=("assertions",)),
        "instrument": _instrument_of(observed, side, name).as_dict(),
        "noise_units": True,
    }
    made = population_from(population)
    if training is None:
        size = 2.0 * side**2 * made.forward.n_planes
        largest = TrainingOptions().n_training
        training = TrainingOptions(n_training=min(largest, int(_SET_SIZE / size)))
    return Preset(
        name=name,
        description=f'{made.space.dim} parameters of a model, on images of {scale:g}" pixels.',
        task="lens-parameters",
        data={"population": population, "targets": list(made.names), "shares": dict(_SHARES)},
        network={"orientations": _N_ORIENTATIONS},
        training=training,
        seed=seed,
    )


def _side_of(dataset: Any) -> int:
    """Pixels a side of the square about the middle that has all that is used."""
    try:
        used = ~np.asarray(dataset.mask.array, dtype=bool)
    except AttributeError as error:
        raise DataError("a network for images needs an al.Imaging") from error
    if not used.any():
        raise DataError("every pixel of the dataset is masked: give it another mask")
    needed = 0.0
    for axis, n in enumerate(used.shape):
        places = np.flatnonzero(used.any(axis=1 - axis)) - 0.5 * (n - 1)
        needed = max(needed, 2.0 * np.abs(places).max() + 1.0)
    side = _STEP * int(np.ceil(needed / _STEP))
    if side > _LARGEST:
        warnings.warn(
            f"the dataset is {needed:.0f} pixels wide, of which the network will see the middle "
            f"{_LARGEST}: give it a smaller mask, or larger pixels",
            DataWarning,
            stacklevel=3,
        )
    return min(max(side, _SMALLEST), _LARGEST)


def _instrument_of(observed: Observation, side: int, name: str) -> Instrument:
    """What makes images with the PSF and the noise of one."""
    electrons = observed.background_electrons
    if not np.isfinite(electrons):
        electrons = _TYPICAL_BACKGROUND if np.isnan(electrons) else _LARGE_BACKGROUND
    # In the units of the data, a count of `electrons` in time t is their noise.
    time = electrons / observed.unit
    fwhm = observed.psf_width * observed.pixel_scale
    return Instrument(
        name=f"like-{name}",
        shape=(side, side),
        pixel_scale=observed.pixel_scale,
        psf_fwhm=tuple(_rounded(factor * fwhm) for factor in _PSF_RANGE),
        exposure_time=tuple(_rounded(factor * time) for factor in _EXPOSURE_RANGE),
        background_sky_level=_rounded(observed.unit * electrons),
        over_sample_size=4 if observed.pixel_scale >= _COARSE else 2,
    )


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")


def _simulated(model: Any, observed: Observation, width: float) -> Any:
    """The model with light that can be simulated, in units of the noise."""
    if not isinstance(model, af.AbstractPriorModel):
        raise ModelError("give an af.Collection with galaxies")
    brightest = float(np.max(observed.images * observed.mask))
    light = _Light(observed, max(brightest, _LEAST_BRIGHT), width)
    simulated = copy.deepcopy(model)
    light.replace_in(simulated)
    return simulated


class _Light:
    """Replaces light in a model.

    Parameters
    ----------
    observed
        What the light is scaled to.
    brightest
        Largest intensity, in units of the RMS of an empty pixel.
    width
        Of the image, in arcsec.
    """

    def __init__(self, observed: Observation, brightest: float, width: float) -> None:
        self._unit = observed.unit
        self._range = (_FAINTEST, _rounded(brightest))
        self._radii = (observed.pixel_scale, _LARGEST_RADIUS * width)
        # Priors that are shared stay so.
        self._scaled: dict[Any, Any] = {}

    def replace_in(self, component: Any) -> None:
        """Replace the light profiles in a part of a model, in place."""
        for name, part in list(component.items()):
            cls = part.cls if isinstance(part, af.Model) else type(part)
            if issubclass(cls, al.lp_basis.Basis):
                setattr(component, name, self._sersic(name, part))
            elif issubclass(cls, al.LightProfile):
                setattr(component, name, self._profile(name, part, cls))
            elif isinstance(part, af.AbstractPriorModel):
                self.replace_in(part)

    def _sersic(self, name: str, basis: Any) -> af.Model:
        """One profile with the centre and ellipticity of the first of many."""
        first = next(iter(basis.profile_list))
        if issubclass(getattr(first, "cls", type(first)), MassProfile):
            raise ModelError(f"{name}: a basis of mass cannot be simulated: use profiles")
        cls = al.lp.Sersic if hasattr(first, "ell_comps") else al.lp.SersicSph
        profile = af.Model(cls)
        for parameter in ("centre", "ell_comps"):
            if hasattr(profile, parameter):
                setattr(profile, parameter, getattr(first, parameter))
        profile.intensity = af.LogUniformPrior(*self._range)
        profile.effective_radius = af.LogUniformPrior(*self._radii)
        profile.sersic_index = af.UniformPrior(*_SERSIC_INDEX)
        return profile

    def _profile(self, name: str, part: Any, cls: type) -> Any:
        if issubclass(cls, LightProfileLinear):
            ordinary = getattr(al.lp, cls.__name__, None)
            is_more = issubclass(cls, (MassProfile, LightProfileOperated))
            if not isinstance(part, af.Model) or ordinary is None or is_more:
                raise ModelError(
                    f"{name} is linear light, whose intensity only a fit determines: use an al.lp "
                    "profile with an intensity"
                )
            profile = af.Model(ordinary)
            for parameter, value in part.items():
                setattr(profile, parameter, value)
            profile.intensity = af.LogUniformPrior(*self._range)
            return profile
        if hasattr(part, "intensity"):
            part.intensity = self._in_noise_units(name, part.intensity)
        return part

    def _in_noise_units(self, name: str, value: Any) -> Any:
        if isinstance(value, (int, float)):
            return value / self._unit
        if value not in self._scaled:
            self._scaled[value] = self._scaled_prior(name, value)
        return self._scaled[value]

    def _scaled_prior(self, name: str, prior: Any) -> Any:
        unit = self._unit
        if type(prior) is af.LogUniformPrior:
            low, high = prior.lower_limit / unit, prior.upper_limit / unit
            cut = max(low, self._range[0]), min(high, self._range[1])
            return af.LogUniformPrior(*(cut if cut[0] < cut[1] else (low, high)))
        if type(prior) is af.UniformPrior:
            return af.UniformPrior(prior.lower_limit / unit, prior.upper_limit / unit)
        if type(prior) is af.GaussianPrior:
            return af.GaussianPrior(prior.mean / unit, prior.sigma / unit)
        if type(prior) is af.TruncatedGaussianPrior:
            values = (prior.mean, prior.sigma, prior.lower_limit, prior.upper_limit)
            return af.TruncatedGaussianPrior(*(value / unit for value in values))
        raise ModelError(
            f"{name}.intensity: a {type(prior).__name__} cannot be put in units of the noise: use "
            "a uniform, log-uniform or Gaussian prior"
        )
