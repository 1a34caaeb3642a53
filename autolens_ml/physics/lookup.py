"""The surface brightness of a map between the centres of its pixels.

Both ways are zero from beyond the map's edge on, and can be differentiated in the map and in the
positions. Maps are centred on (0, 0); row 0 is the top (+y) and column 0 the left (-x).
"""

from __future__ import annotations

import torch
from torch.nn import functional

__all__ = ["bicubic", "bilinear"]


def bilinear(maps: torch.Tensor, pixel_scale: float, positions: torch.Tensor) -> torch.Tensor:
    """As `aml.lp.PixelLight`: continuous, and zero from one pixel beyond the last centres.

    Parameters
    ----------
    maps
        Surface brightness at the pixel centres, shape (n, rows, columns).
    pixel_scale
        Side of a pixel [arcsec].
    positions
        The (y,x) positions [arcsec], shape (n, 2, y, x).

    Returns
    -------
    Shape (n, y, x).
    """
    rows, columns = maps.shape[-2:]
    # In grid_sample -1 and 1 are the outer edges of the pixels, and x comes first.
    x = positions[:, 1] * (2.0 / (pixel_scale * columns))
    y = positions[:, 0] * (-2.0 / (pixel_scale * rows))
    found = functional.grid_sample(
        maps[:, None], torch.stack((x, y), dim=-1), mode="bilinear", align_corners=False
    )
    return found[:, 0]


def bicubic(maps: torch.Tensor, pixel_scale: float, positions: torch.Tensor) -> torch.Tensor:
    """Cubic convolution: continuous with its slopes, and zero from two pixels beyond the centres.

    Quadratic surfaces are reproduced (Keys 1981, IEEE Trans. ASSP 29, 1153, with a = -1/2; the
    -3/4 of torch's own does not reproduce a slope). It overshoots beside jumps. Parameters and
    result as `bilinear`.
    """
    n, rows, columns = maps.shape
    # What is beyond is zero, and far away is as two pixels beyond.
    padded = functional.pad(maps, (3, 3, 3, 3)).flatten(1)
    row = (3.0 + 0.5 * (rows - 1)) - positions[:, 0].flatten(1) / pixel_scale
    column = (3.0 + 0.5 * (columns - 1)) + positions[:, 1].flatten(1) / pixel_scale
    row, column = row.clamp(1.0, rows + 4.0), column.clamp(1.0, columns + 4.0)
    i, j = row.detach().floor().clamp(max=rows + 3.0), column.detach().floor()
    j = j.clamp(max=columns + 3.0)
    # Weights (n, points, 4) along each axis, of the pixels from one before to two after.
    along_rows, along_columns = _cubic_weights(row - i), _cubic_weights(column - j)
    first = (i.long() - 1) * (columns + 6) + (j.long() - 1)
    steps = torch.arange(4, device=maps.device)
    taps = first[..., None, None] + steps[:, None] * (columns + 6) + steps
    values = padded.gather(1, taps.flatten(1)).reshape(taps.shape)
    found = torch.einsum("npij,npi,npj->np", values, along_rows, along_columns)
    return found.reshape(n, *positions.shape[2:])


def _cubic_weights(t: torch.Tensor) -> torch.Tensor:
    """Weights of the pixels at -1, 0, 1 and 2 for a point at t in [0, 1], in a new last axis."""
    s = 1.0 - t
    return torch.stack(
        (
            -0.5 * t * s * s,
            1.0 - t * t * (2.5 - 1.5 * t),
            1.0 - s * s * (2.5 - 1.5 * s),
            -0.5 * s * t * t,
        ),
        dim=-1,
    )
