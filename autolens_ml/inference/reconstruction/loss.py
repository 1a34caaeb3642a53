"""How far a reconstruction is from the truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple, Self

import numpy as np
import torch

from autolens_ml.exceptions import OptionError
from autolens_ml.inference.reconstruction.loop import State

__all__ = ["LossWeights", "Maps"]


class Maps(NamedTuple):
    """What lenses are.

    Attributes
    ----------
    source : Tensor
        Surface brightness in the units of the data, shape (n, rows, columns).
    convergence : Tensor
        Common logarithm, shape (n, y, x).
    shear : Tensor
        Shape (n, 2).
    """

    source: torch.Tensor
    convergence: torch.Tensor
    shear: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    r"""The loss of a step, whose mean over all steps is lowered.

    .. math:: w_\kappa \sum_i \frac{\sqrt{\kappa_i}}{\sum_j \sqrt{\kappa_j}} (\hat k_i - k_i)^2
              + w_s \frac{\sum_i (\hat s_i - s_i)^2}{\sum_i s_i^2}
              + w_\gamma |\hat\gamma - \gamma|^2 + w_\chi \ln(1 + \hat\chi^2)

    with the common logarithm k of the convergence, as published (Adam et al. 2023,
    arXiv:2301.04168), but with the errors of a source relative to its light; shear and the reduced
    chi-squared were no part of it.

    Attributes
    ----------
    convergence, source, shear, chi_squared : float
        The weights, 0 or more.

    Raises
    ------
    OptionError
        When a weight is not so.
    """

    convergence: float = 10.0
    source: float = 1.0
    shear: float = 30.0
    chi_squared: float = 0.05

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not isinstance(value, int | float) or not 0.0 <= value < np.inf:
                raise OptionError(f"data: loss: {name} must be 0 or more, not {value!r}")

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """The weights that a mapping describes.

        Raises
        ------
        OptionError
            When an entry is unknown or out of its range.
        """
        known = [entry.name for entry in fields(cls)]
        if not isinstance(values, Mapping) or set(values) - set(known):
            raise OptionError(f"data: loss: {values!r} is no mapping of {', '.join(known)}")
        return cls(**values)

    def of(self, state: State, truth: Maps) -> torch.Tensor:
        """The loss of one step, shape (n,)."""
        weights = torch.pow(10.0, 0.5 * truth.convergence)
        wrong = (state.latents.convergence - truth.convergence).square()
        convergence = (weights * wrong).sum(dim=(1, 2)) / weights.sum(dim=(1, 2))
        light = truth.source.square().sum(dim=(1, 2))
        source = (state.source - truth.source).square().sum(dim=(1, 2)) / light
        shear = (state.latents.shear - truth.shear).square().sum(dim=1)
        loss = self.convergence * convergence + self.source * source + self.shear * shear
        if self.chi_squared:
            loss = loss + self.chi_squared * state.chi_squared.log1p()
        return loss
