"""Galaxies for weak lensing: intrinsic shapes, the shear they suffer, and the PSF they are seen by.

Ellipticities and shears are complex numbers, epsilon = epsilon_1 + i epsilon_2, in the convention
of reduced shear: |epsilon| = (a - b) / (a + b), epsilon_1 > 0 along x and epsilon_2 > 0 along the
diagonal x = y, with y upwards (row 0 of an image is +y). A shear g takes an ellipticity to

    epsilon' = (epsilon + g) / (1 + conj(g) epsilon),

whose mean over randomly oriented galaxies is g exactly (Seitz & Schneider 1997, A&A, 318, 687).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from numbers import Real
from typing import Any, Self

import numpy as np
import torch

from autolens_ml.exceptions import OptionError
from autolens_ml.simulate.shear_profiles import (
    AIRY_BLURS,
    SERSIC_INDICES,
    airy_rows,
    gaussian_rows,
    moffat_rows,
    sersic_rows,
)

__all__ = ["GALAXY_KINDS", "POPULATIONS", "PSF_KINDS", "Scenes", "ShearPopulation", "sheared"]

# What `Scenes.kind` counts.
GALAXY_KINDS = ("sersic", "bulge-disc", "cut-out")
PSF_KINDS = ("moffat", "gaussian", "airy")

# Bulges: de Vaucouleurs, with these ratios to the disc's half-light radius and ellipticity.
_BULGE_INDEX = 4.0
_BULGE_SIZE = (0.2, 0.7)
_BULGE_ELLIPTICITY = (0.3, 1.0)
_BULGE_SHARE = (0.1, 0.6)
# Wings of Moffat PSFs.
_MOFFAT_BETA = (2.0, 5.0)
_NO_CUT_OUT = -1


def sheared(ellipticity: torch.Tensor, shear: torch.Tensor) -> torch.Tensor:
    """Ellipticities after a shear, both complex and of modulus below one."""
    return (ellipticity + shear) / (1.0 + shear.conj() * ellipticity)


@dataclass(frozen=True)
class Scenes:
    """Galaxies, each with its shear, its PSF and its signal-to-noise: all that makes a stamp.

    Attributes
    ----------
    kind : Tensor
        Place in ``GALAXY_KINDS``, shape (n,).
    ellipticity : Tensor
        Intrinsic, of two components, complex of shape (n, 2).
    radius : Tensor
        Half-light radii of the components [arcsec], circularised, shape (n, 2).
    row : Tensor
        Rows of their profiles in the table of transforms, shape (n, 2).
    flux : Tensor
        Shares of the light, shape (n, 2).
    cut_out : Tensor
        Number of the cut-out that stands for the profiles, or -1, shape (n,).
    turn : Tensor
        Angle by which a cut-out is turned [rad], counter-clockwise, shape (n,).
    centre : Tensor
        Offset from the middle of the stamp [arcsec], complex x + iy, shape (n,).
    shear : Tensor
        Reduced shear, complex of shape (n,).
    psf_row, psf_fwhm : Tensor
        Row of the PSF in the table and its full width at half maximum [arcsec], shape (n,).
    psf_ellipticity : Tensor
        Its own shear, complex of shape (n,).
    psf_centre : Tensor
        Offset from the middle of its own stamp [arcsec], complex x + iy, shape (n,).
    signal_to_noise : Tensor
        Of a matched filter: root of the sum of squared pixels over the noise, shape (n,).
    noise_seed : Tensor
        What the noise is drawn with; that of the first scene stands for all of a batch, (n,).
    """

    kind: torch.Tensor
    ellipticity: torch.Tensor
    radius: torch.Tensor
    row: torch.Tensor
    flux: torch.Tensor
    cut_out: torch.Tensor
    turn: torch.Tensor
    centre: torch.Tensor
    shear: torch.Tensor
    psf_row: torch.Tensor
    psf_fwhm: torch.Tensor
    psf_ellipticity: torch.Tensor
    psf_centre: torch.Tensor
    signal_to_noise: torch.Tensor
    noise_seed: torch.Tensor

    def __len__(self) -> int:
        return len(self.kind)

    def __getitem__(self, rows: Any) -> Self:
        return type(self)(**{name: value[rows] for name, value in vars(self).items()})

    @property
    def observed_ellipticity(self) -> torch.Tensor:
        """Of the whole galaxy after the shear, complex of shape (n,).

        With several components it is that of their summed second moments, each with its half-light
        radius for its size: like the components themselves it follows every shear exactly.
        """
        return sheared(self.intrinsic_ellipticity, self.shear)

    @property
    def intrinsic_ellipticity(self) -> torch.Tensor:
        """Of the whole galaxy before the shear, complex of shape (n,)."""
        squared = self.ellipticity.abs().square()
        weight = self.flux * self.radius.square() / (1.0 - squared)
        # Moments Q_xx + Q_yy and Q_xx - Q_yy + 2i Q_xy of each component, and of their sum.
        trace = (weight * (1.0 + squared)).sum(-1)
        spin = (2.0 * weight * self.ellipticity).sum(-1)
        determinant = trace.square() - spin.abs().square()
        return spin / (trace + determinant.clamp(min=0.0).sqrt())

    @property
    def half_light_radius(self) -> torch.Tensor:
        """Mean of the components' by their light [arcsec], shape (n,)."""
        return (self.flux * self.radius).sum(-1)

    def changed(self, **values: torch.Tensor) -> Self:
        """The same galaxies, but for what is given."""
        return replace(self, **values)

    def turned(self) -> Self:
        """The galaxies turned by 90 degrees, before shear, PSF and offset act on them."""
        return self.changed(ellipticity=-self.ellipticity, turn=self.turn + 0.5 * np.pi)


@dataclass(frozen=True)
class ShearPopulation:
    """Ranges from which scenes are drawn, each scene independently of the others.

    Position angles are uniform: shapes and PSFs have no preferred direction.

    Parameters
    ----------
    size
        Pixels a side of the stamps, even, 16 to 256.
    pixel_scale
        arcsec per pixel.
    galaxies
        Shares of the kinds of ``GALAXY_KINDS``, in any units.
    half_light_radius
        Smallest and largest [arcsec], log-uniform.
    sersic_index
        Smallest and largest, uniform, within 0.5 to 6.
    ellipticity_rms
        Of one component of the intrinsic ellipticity, before the largest is cut off.
    max_ellipticity
        Largest intrinsic modulus, below 1.
    max_shear
        Each component of the reduced shear is uniform between minus and plus this, below 0.7.
    psfs
        Shares of the kinds of ``PSF_KINDS``, in any units.
    psf_fwhm
        Smallest and largest full width at half maximum [arcsec], uniform.
    max_psf_shear
        Each component of the PSF's shear is uniform between minus and plus this, below 0.7.
    signal_to_noise
        Smallest and largest, log-uniform.
    max_offset
        Each coordinate of the centres of galaxy and PSF, each in its stamp, is uniform between
        minus and plus this [px].
    cut_outs
        Library of real galaxies, see :func:`~autolens_ml.simulate.sources.library_from`.

    Raises
    ------
    OptionError
        When one of them is out of its range.
    """

    size: int = 48
    pixel_scale: float = 0.1
    galaxies: Mapping[str, float] = field(
        default_factory=lambda: {"sersic": 0.5, "bulge-disc": 0.3, "cut-out": 0.2}
    )
    half_light_radius: tuple[float, float] = (0.15, 0.6)
    sersic_index: tuple[float, float] = (0.5, 4.5)
    ellipticity_rms: float = 0.26
    max_ellipticity: float = 0.8
    max_shear: float = 0.05
    psfs: Mapping[str, float] = field(
        default_factory=lambda: {"moffat": 0.4, "gaussian": 0.1, "airy": 0.5}
    )
    psf_fwhm: tuple[float, float] = (0.15, 0.21)
    max_psf_shear: float = 0.04
    signal_to_noise: tuple[float, float] = (10.0, 200.0)
    max_offset: float = 0.5
    cut_outs: str = "hubble-deep-field"

    def __post_init__(self) -> None:
        for name in ("half_light_radius", "sersic_index", "psf_fwhm", "signal_to_noise"):
            self._set_range(name)
        for name, kinds in (("galaxies", GALAXY_KINDS), ("psfs", PSF_KINDS)):
            self._set_shares(name, kinds)
        if isinstance(self.size, bool) or not isinstance(self.size, int):
            raise OptionError(f"population: size must be a whole number, not {self.size!r}")
        if self.size % 2 or not 16 <= self.size <= 256:
            raise OptionError(f"population: size must be even, 16 to 256, not {self.size}")
        for name, largest in (
            ("pixel_scale", np.inf),
            ("ellipticity_rms", 1.0),
            ("max_ellipticity", 0.95),
            ("max_shear", 0.7),
            ("max_psf_shear", 0.7),
            ("max_offset", 0.25 * self.size),
        ):
            value = getattr(self, name)
            # Written so that NaN fails.
            if not (_is_number(value) and 0.0 <= value <= largest):
                raise OptionError(f"population: {name} must be 0 to {largest:g}, not {value!r}")
        if self.pixel_scale == 0.0:
            raise OptionError("population: pixel_scale must be above 0 arcsec")
        low, high = self.sersic_index
        if low < SERSIC_INDICES[0] or high > SERSIC_INDICES[1]:
            raise OptionError(f"population: sersic_index must be 0.5 to 6, not {low:g} to {high:g}")
        if not isinstance(self.cut_outs, str):
            raise OptionError(f"population: cut_outs must name a library, not {self.cut_outs!r}")

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """The population that a mapping describes; what it leaves out is that of ``euclid``.

        Raises
        ------
        OptionError
            When it is no mapping, or an entry is unknown or out of its range.
        """
        if not isinstance(values, Mapping):
            raise OptionError(f"population: needs a mapping, not {values!r}")
        known = [entry.name for entry in fields(cls)]
        if unknown := sorted(str(name) for name in values if name not in known):
            raise OptionError(
                f"population: unknown {', '.join(unknown)}; known: {', '.join(known)}"
            )
        return cls(**values)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as `from_dict` takes them."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    def draw(self, n: int, rng: np.random.Generator) -> Scenes:
        """Draw scenes.

        Parameters
        ----------
        n
            How many.
        rng
            Where the numbers come from.
        """
        kind = rng.choice(len(GALAXY_KINDS), size=n, p=list(self.galaxies.values()))
        is_two = kind == GALAXY_KINDS.index("bulge-disc")
        is_cut_out = kind == GALAXY_KINDS.index("cut-out")
        disc = self._ellipticities(n, rng)
        radius = _log_uniform(rng, self.half_light_radius, n)
        index = np.where(is_two, 1.0, rng.uniform(*self.sersic_index, n))
        bulge = np.where(is_two, rng.uniform(*_BULGE_SHARE, n), 0.0)
        n_cut_outs = self._n_cut_outs() if is_cut_out.any() else 1
        offset = self.max_offset * self.pixel_scale
        return Scenes(
            kind=torch.from_numpy(kind),
            ellipticity=_complex(
                np.stack((disc, disc * rng.uniform(*_BULGE_ELLIPTICITY, n)), axis=-1)
            ),
            radius=_real(np.stack((radius, radius * rng.uniform(*_BULGE_SIZE, n)), axis=-1)),
            row=_real(sersic_rows(np.stack((index, np.full(n, _BULGE_INDEX)), axis=-1))),
            flux=_real(np.stack((1.0 - bulge, bulge), axis=-1)),
            cut_out=torch.from_numpy(
                np.where(is_cut_out, rng.integers(n_cut_outs, size=n), _NO_CUT_OUT)
            ),
            turn=_real(rng.uniform(0.0, 2.0 * np.pi, n)),
            centre=_complex(_square(rng, offset, n)),
            shear=_complex(_square(rng, self.max_shear, n)),
            psf_row=_real(self._psf_rows(n, rng)),
            psf_fwhm=_real(rng.uniform(*self.psf_fwhm, n)),
            psf_ellipticity=_complex(_square(rng, self.max_psf_shear, n)),
            psf_centre=_complex(_square(rng, offset, n)),
            signal_to_noise=_real(_log_uniform(rng, self.signal_to_noise, n)),
            noise_seed=torch.from_numpy(rng.integers(2**62, size=n)),
        )

    def _ellipticities(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Complex, Gaussian but for the largest moduli, at random angles."""
        if self.ellipticity_rms == 0.0:
            return np.zeros(n, dtype=complex)
        # The Rayleigh distribution below the limit, by its inverse.
        ratio = 0.5 * (self.max_ellipticity / self.ellipticity_rms) ** 2
        modulus = self.ellipticity_rms * np.sqrt(-2.0 * np.log1p(rng.random(n) * np.expm1(-ratio)))
        return modulus * np.exp(2j * np.pi * rng.random(n))

    def _psf_rows(self, n: int, rng: np.random.Generator) -> np.ndarray:
        kinds = rng.choice(len(PSF_KINDS), size=n, p=list(self.psfs.values()))
        rows = [
            moffat_rows(rng.uniform(*_MOFFAT_BETA, n)),
            gaussian_rows(n),
            airy_rows(rng.uniform(*AIRY_BLURS, n)),
        ]
        return np.choose(kinds, rows)

    def _n_cut_outs(self) -> int:
        from autolens_ml.simulate.sources import library_from

        return len(library_from(self.cut_outs))

    def _set_range(self, name: str) -> None:
        value = getattr(self, name)
        pair = (value, value) if _is_number(value) else tuple(value) if _is_pair(value) else None
        if pair is None or not 0.0 < pair[0] <= pair[1]:
            raise OptionError(
                f"population: {name} must be one positive number, or the smallest and the largest, "
                f"not {value!r}"
            )
        object.__setattr__(self, name, (float(pair[0]), float(pair[1])))

    def _set_shares(self, name: str, kinds: tuple[str, ...]) -> None:
        shares = getattr(self, name)
        if not isinstance(shares, Mapping) or not all(
            kind in kinds and _is_number(share) and share >= 0.0 for kind, share in shares.items()
        ):
            raise OptionError(
                f"population: {name} must give shares >= 0 of {', '.join(kinds)}, not {shares!r}"
            )
        total = sum(shares.values())
        if not total > 0.0:
            raise OptionError(f"population: {name} needs a share above 0")
        object.__setattr__(self, name, {kind: shares.get(kind, 0.0) / total for kind in kinds})


def _log_uniform(rng: np.random.Generator, ends: tuple[float, float], n: int) -> np.ndarray:
    low, high = np.log(ends)
    return np.exp(rng.uniform(low, high, n))


def _square(rng: np.random.Generator, half: float, n: int) -> np.ndarray:
    """Complex numbers whose parts are uniform between minus and plus ``half``."""
    return rng.uniform(-half, half, n) + 1j * rng.uniform(-half, half, n)


def _real(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


def _complex(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.complex64))


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and bool(np.isfinite(value))


def _is_pair(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2 and all(map(_is_number, value))


# What the field has (Euclid VIS), and what LensNet drew: shears "chosen arbitrarily" that make up
# all of a galaxy's shape.
POPULATIONS = {
    "euclid": ShearPopulation(),
    "seed": ShearPopulation(
        galaxies={"sersic": 1.0},
        ellipticity_rms=0.0,
        max_shear=0.4,
        psfs={"moffat": 1.0},
        signal_to_noise=(50.0, 500.0),
    ),
}
