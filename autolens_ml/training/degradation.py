"""What real images have and simulated ones lack: uneven depth and correlated noise.

Mosaics of dithered exposures are shallower where exposures are missing, and resampling them
averages neighbouring pixels: noise is then correlated and smaller than its map says.
"""

from __future__ import annotations

import numpy as np
import torch

# Rectangles of missing exposures, their sides in pixels and what they multiply the noise by.
_MAX_PATCHES = 12
_PATCH_SIDES = (1, 17)
_PATCH_FACTORS = (1.05, 1.6)
# Single pixels that most exposures missed.
_MAX_PIXELS = 8
_PIXEL_FACTORS = (1.5, 4.0)


def depths(n: int, shape: tuple[int, int], share: float, rng: np.random.Generator) -> torch.Tensor:
    """Factors of the noise, shape (n, y, x): one but for a ``share`` of the images.

    Those have rectangles and single pixels that were seen for less time.
    """
    factors = np.ones((n, *shape), dtype=np.float32)
    for i in np.flatnonzero(rng.random(n) < share):
        for _ in range(rng.integers(1, _MAX_PATCHES + 1)):
            height, width = rng.integers(*_PATCH_SIDES, size=2)
            row, column = (rng.integers(side) for side in shape)
            patch = factors[i, row : row + height, column : column + width]
            np.maximum(patch, rng.uniform(*_PATCH_FACTORS), out=patch)
        n_pixels = rng.integers(_MAX_PIXELS + 1)
        rows, columns = (rng.integers(side, size=n_pixels) for side in shape)
        factors[i, rows, columns] = rng.uniform(*_PIXEL_FACTORS, size=n_pixels)
    return torch.from_numpy(factors)


def resampled(noise: torch.Tensor, share: float, rng: np.random.Generator) -> torch.Tensor:
    """White noise, shape (n, y, x), as a ``share`` of images has it: resampled by linear shifts.

    A shift by the fraction a of a pixel leaves (1 - a)^2 + a^2 of the variance along each axis
    and correlates neighbours.
    """
    n = len(noise)
    a = rng.uniform(0.0, 0.5, size=(2, n)) * (rng.random(n) < share)
    for axis, fraction in zip((-2, -1), torch.from_numpy(a).float(), strict=True):
        fraction = fraction[:, None, None]
        noise = (1.0 - fraction) * noise + fraction * torch.roll(noise, 1, dims=axis)
    return noise
