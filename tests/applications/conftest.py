"""Small FITS files, right and wrong."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

SHAPE = (20, 24)
PIXEL_SCALE = 0.2


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    """An image without any symmetry, its noise map and an odd PSF of sum 1."""
    rng = np.random.default_rng(3)
    psf = rng.uniform(0.5, 1.0, size=(5, 5))
    return {
        "DATA": np.arange(SHAPE[0] * SHAPE[1], dtype=float).reshape(SHAPE) - 50.0,
        "PSF": psf / psf.sum(),
        "NOISE_MAP": rng.uniform(1.0, 2.0, size=SHAPE),
    }


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write arrays as the extensions of one FITS file; ``pixel_scale=None`` leaves it out."""

    def write(
        arrays: dict[str, np.ndarray],
        name: str = "lens.fits",
        pixel_scale: float | None = PIXEL_SCALE,
    ) -> Path:
        units = [fits.PrimaryHDU()]
        for extension, array in arrays.items():
            unit = fits.ImageHDU(array, name=extension)
            if pixel_scale is not None:
                unit.header["PIXSCALE"] = pixel_scale
            units.append(unit)
        path = tmp_path / name
        fits.HDUList(units).writeto(path, overwrite=True)
        return path

    return write
