"""Posteriors averaged over the flips and quarter turns of an image.

A lens that is seen upside down is the same lens, so a density that is averaged over all
orientations is nearer to the posterior than that of one: what differs between them is the error of
the network alone. Their means are averaged and each density is moved there, for a mixture of them
as they are would count this error twice; then widths are rescaled to hold the truth as often as
they say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from autolens_ml.exceptions import OptionError
from autolens_ml.networks.heads import GaussianMixture

__all__ = ["Orientation", "averaged", "orbits_of", "scale_from", "turned"]

_NARROWEST = 1e-9


@dataclass(frozen=True)
class Orientation:
    """A flip and/or quarter turns of an image, and what they do to latents.

    Attributes
    ----------
    flip : bool
        Whether y is mirrored first.
    turns : int
        Counter-clockwise quarter turns after that, 0 to 3.
    order, signs : tuple
        Latent i of the turned image is ``signs[i]`` times latent ``order[i]``.

    Raises
    ------
    OptionError
        When the order is no permutation, or a sign is neither 1 nor -1.
    """

    flip: bool
    turns: int
    order: tuple[int, ...]
    signs: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "order", tuple(self.order))
        object.__setattr__(self, "signs", tuple(self.signs))
        if sorted(self.order) != list(range(len(self.signs))) or {*self.signs} - {1, -1}:
            raise OptionError(
                f"orientations: order must be a permutation and signs 1 or -1, not {self.order} "
                f"and {self.signs}"
            )

    @classmethod
    def from_matrix(cls, flip: bool, turns: int, matrix: Any) -> Orientation:
        """That which takes latents z to ``matrix @ z``, a matrix of zeros, ones and minus ones."""
        rows = [list(row) for row in matrix]
        order = [max(range(len(row)), key=lambda i: abs(row[i])) for row in rows]
        signs = [int(row[i]) for row, i in zip(rows, order, strict=True)]
        return cls(flip, turns, tuple(order), tuple(signs))

    @property
    def is_identity(self) -> bool:
        """Whether it leaves images as they are."""
        return not (self.flip or self.turns)

    def as_dict(self) -> dict[str, Any]:
        """Arguments of this class, as JSON has them."""
        return {
            name: list(v) if name in ("order", "signs") else v for name, v in vars(self).items()
        }

    def image_from(self, images: torch.Tensor) -> torch.Tensor:
        """The turned images, see :func:`turned`."""
        return turned(images, self.flip, self.turns)

    def density_from(self, seen: GaussianMixture) -> GaussianMixture:
        """The density of latents of the image as it was, of that of the turned image's."""
        order = torch.tensor(self.order, device=seen.means.device)
        signs = torch.tensor(self.signs, device=order.device, dtype=seen.means.dtype)
        means, roots = torch.empty_like(seen.means), torch.empty_like(seen.roots)
        means[..., order] = signs * seen.means
        roots[..., order] = signs * seen.roots
        return GaussianMixture(seen.log_weights, means, _lower_triangular(roots))


def turned(images: torch.Tensor, flip: bool, turns: int) -> torch.Tensor:
    """Images with y mirrored, if asked, and then turned counter-clockwise by right angles.

    Rows and columns are the last two axes.
    """
    flipped = torch.flip(images, (-2,)) if flip else images
    # In the order of memory: what follows is faster.
    return torch.rot90(flipped, turns, (-2, -1)).contiguous()


def averaged(densities: Sequence[GaussianMixture], scale: torch.Tensor) -> GaussianMixture:
    """Densities of one batch, moved to the mean of their means, narrowed by ``scale`` and mixed.

    Parameters
    ----------
    densities
        One for each orientation, of latents of the image as it was.
    scale
        Factor on the width of each latent, shape (d,).
    """
    mean = torch.stack([density.mean for density in densities]).mean(0)[:, None]
    return GaussianMixture.of(
        [
            GaussianMixture(
                density.log_weights,
                mean + scale * (density.means - density.mean[:, None]),
                density.roots / scale,
            )
            for density in densities
        ]
    )


def scale_from(
    draws: torch.Tensor, mean: torch.Tensor, truths: torch.Tensor, orbits: Any, level: float
) -> torch.Tensor:
    """Factors on widths at which central intervals hold the truth as often as they say.

    Parameters
    ----------
    draws
        Of densities at a scale of one, shape (n_draws, n, d).
    mean, truths
        Their means and the true latents, each of shape (n, d).
    orbits
        See :func:`orbits_of`: latents that turn into one another have one factor.
    level
        Credible level.

    Returns
    -------
    Shape (d,).
    """
    levels = torch.tensor([0.5 - 0.5 * level, 0.5 + 0.5 * level]).to(draws)
    # One latent after the other: older versions of torch take 16 million numbers and no more.
    lower, upper = torch.stack(
        [torch.quantile(column, levels, dim=0) for column in draws.unbind(-1)], dim=-1
    )
    # A mean outside of its interval has no factor that widens it to anything.
    low, high = (side.clamp(min=_NARROWEST) for side in (mean - lower, upper - mean))
    offset = truths - mean
    # The factor at which the truth lies on the edge of its interval.
    reach = torch.where(offset > 0.0, offset / high, -offset / low)
    return torch.stack([torch.quantile(reach[:, orbit].flatten(), level) for orbit in orbits])


def orbits_of(orientations: Sequence[Orientation]) -> list[list[int]]:
    """For each latent those that it turns into, itself included."""
    (dim,) = {len(orientation.order) for orientation in orientations}
    return [sorted({orientation.order[i] for orientation in orientations}) for i in range(dim)]


def _lower_triangular(roots: torch.Tensor) -> torch.Tensor:
    """Lower-triangular L of positive diagonal with L^T L = A^T A, of A of shape (..., d, d)."""
    upper = torch.linalg.qr(roots.flip(-1)).R
    lower = upper.flip(-2, -1)
    return lower * torch.diagonal(lower, dim1=-2, dim2=-1).sign()[..., None]
