"""Stamps of galaxies made fit to be learnt from: checked, without noise, fading at the border."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.signal.windows import tukey

from autolens_ml.exceptions import DataError, OptionError
from autolens_ml.simulate.sources import StampLibrary

__all__ = ["QualityCuts", "fading", "prepared"]

# Pixels as far apart as this [px] share no noise: stamps are interpolated from coarser pictures.
_COMB = 3
# Where a galaxy is fainter than this fraction of its peak, second differences are noise.
_FAINT = 0.15
# Patches of the denoiser and how far it looks for like ones [px].
_PATCH, _SEARCH = 5, 7
# Filtering strength over the noise, as its authors advise.
_STRENGTH = 0.8
# Share of the side of a map over which light fades to zero, both ends together.
_BORDER = 0.15


@dataclass(frozen=True, kw_only=True)
class QualityCuts:
    """What a stamp must be to be learnt from.

    Parameters
    ----------
    flux_inside
        Share of the light that must be within 0.4 widths of the middle.
    signal_to_noise
        Mean brightness inside the half-light radius over the noise of a pixel.
    edge
        Brightest pixel of the outermost ones that is allowed, over the peak.

    Raises
    ------
    OptionError
        When a value is below zero, or a share above one.
    """

    flux_inside: float = 0.95
    signal_to_noise: float = 20.0
    edge: float = 0.01

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0.0 <= value <= (np.inf if name == "signal_to_noise" else 1.0):
                raise OptionError(f"QualityCuts: {name} is out of its range: {value}")

    def passes(self, library: StampLibrary, noise: float | np.ndarray | None = None) -> np.ndarray:
        """Which stamps are good enough, boolean of shape (n,).

        Parameters
        ----------
        library
            The stamps.
        noise
            Of their pixels, over the peak, one number or of shape (n,); estimated by default.

        Raises
        ------
        OptionError
            If `noise` is below zero, or not one for each stamp.
        """
        noises = _noises(library, noise)
        pixels = np.arange(library.size) - 0.5 * (library.size - 1)
        radii = np.hypot(pixels[:, None], pixels)
        light = library.stamps.sum(axis=(1, 2), dtype=float)
        inside = library.stamps.sum(axis=(1, 2), where=radii <= 0.4 * library.size, dtype=float)
        bright = 0.5 * light / (np.pi * library.half_light_radius**2)
        outermost = np.ones((library.size, library.size), dtype=bool)
        outermost[1:-1, 1:-1] = False
        edge = library.stamps.max(axis=(1, 2), where=outermost, initial=0.0)
        return (
            (inside >= self.flux_inside * light)
            & (bright >= self.signal_to_noise * noises)
            & (edge <= self.edge)
        )


def prepared(
    library: StampLibrary,
    cuts: QualityCuts | None = None,
    denoise: bool = True,
    noise: float | np.ndarray | None = None,
) -> StampLibrary:
    """Stamps to learn from: only good ones, without noise, fading to zero at the border.

    Noise is taken out by non-local means (scikit-image): a pixel becomes the mean of those with a
    like neighbourhood, so that clumps and arms stay while specks around the galaxy go.

    Parameters
    ----------
    library
        Galaxies with noise, as those of pictures and telescopes are.
    cuts
        On the galaxies as they are; the defaults of :class:`QualityCuts` if not given.
    denoise
        Whether to take noise out.
    noise
        Standard deviation of the noise of a pixel over the peak, one number or of shape (n,). By
        default it is estimated for each stamp, from second differences where it is faint.

    Raises
    ------
    DataError
        If no stamp is good enough.
    OptionError
        If `noise` is below zero, or not one for each stamp.
    """
    noises = _noises(library, noise)
    good = np.flatnonzero((cuts or QualityCuts()).passes(library, noises))
    if good.size == 0:
        raise DataError(f"none of {len(library)} stamps passes the quality cuts; loosen the cuts")
    stamps = library.stamps[good].astype(float)
    if denoise:
        stamps = np.array(
            [_denoised(each, sigma) for each, sigma in zip(stamps, noises[good], strict=True)]
        )
    return StampLibrary.from_stamps(
        stamps * fading((library.size, library.size)), [library.names[i] for i in good]
    )


def fading(shape: tuple[int, int]) -> np.ndarray:
    """One, but falling to zero at the border as a cosine, an array of this shape."""
    return np.outer(*(tukey(length, _BORDER) for length in shape))


def _noises(library: StampLibrary, noise: float | np.ndarray | None) -> np.ndarray:
    """Of each stamp, shape (n,): as given, or estimated."""
    if noise is None:
        return np.array([_noise(stamp) for stamp in library.stamps.astype(float)])
    if np.shape(noise) not in ((), (len(library),)) or not np.all(np.asarray(noise) >= 0.0):
        raise OptionError(
            f"noise must be 0 or more, one number or one for each of {len(library)} stamps"
        )
    return np.broadcast_to(np.asarray(noise, dtype=float), len(library))


def _noise(stamp: np.ndarray) -> float:
    """Standard deviation of the noise of a pixel, over the peak.

    From the median of second differences along both axes, which a smooth galaxy does not have
    (Immerkaer 1996, Computer Vision and Image Understanding, 64, 300).
    """
    comb = np.zeros((2 * _COMB + 1, 2 * _COMB + 1))
    comb[::_COMB, ::_COMB] = np.outer((1.0, -2.0, 1.0), (1.0, -2.0, 1.0))
    differences = ndimage.convolve(stamp, comb, mode="nearest")
    faint = (stamp > 0.0) & (stamp < _FAINT * stamp.max())
    if not faint.any():
        return 0.0
    # A difference is of nine pixels whose weights squared add up to 36.
    return float(1.4826 * np.median(np.abs(differences[faint])) / 6.0)


def _denoised(stamp: np.ndarray, noise: float) -> np.ndarray:
    from skimage.restoration import denoise_nl_means

    if noise == 0.0:
        return stamp
    return denoise_nl_means(
        stamp, patch_size=_PATCH, patch_distance=_SEARCH, h=_STRENGTH * noise, sigma=noise
    )
