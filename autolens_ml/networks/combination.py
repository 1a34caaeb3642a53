"""Several networks as one: a weighted sum of their answers, learned for each parameter."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from autolens_ml.exceptions import OptionError
from autolens_ml.networks.losses import ELLIPTICITY

__all__ = ["Combination"]

# Rounds of signs and weights; the loss falls in every one, and few are needed.
_MAX_ROUNDS = 50


class Combination(nn.Module):
    """The weighted sum of the outputs of K networks, with weights of its own for each parameter.

    Hezaveh et al. 2017 combine four networks of five parameters with twenty weights. Ensai
    trains them by gradient, on top of frozen networks, with a mask over a 20 x 5 matrix; since the
    sum is linear in them, :meth:`fit` finds the best ones by least squares, exactly and at once.

    Parameters
    ----------
    n_networks, n_parameters
        Networks, and outputs of each.
    columns
        Of the ellipticity whose sign is not known, see :func:`~.losses.flip_invariant_mse`; empty
        for parameters that have none, such as ``ell_comps``.

    Attributes
    ----------
    weights : Tensor
        Shape (n_networks, n_parameters); the plain mean until fitted.

    Raises
    ------
    OptionError
        If there is no network or parameter, or a column is none of theirs.
    """

    def __init__(
        self, n_networks: int, n_parameters: int = 5, columns: Sequence[int] = ELLIPTICITY
    ) -> None:
        super().__init__()
        if n_networks < 1 or n_parameters < 1:
            raise OptionError(
                f"{n_networks} networks of {n_parameters} parameters; give at least one of each"
            )
        if not all(0 <= column < n_parameters for column in columns):
            raise OptionError(f"columns {tuple(columns)} are not among {n_parameters} parameters")
        self.columns = list(columns)
        self.weights = nn.Parameter(torch.full((n_networks, n_parameters), 1.0 / n_networks))

    def forward(self, outputs: torch.Tensor) -> torch.Tensor:
        """Combined outputs, shape (n, d).

        Parameters
        ----------
        outputs
            Of the networks, in the order of the fit, shape (n_networks, n, d).

        Raises
        ------
        OptionError
            If the outputs have another shape.
        """
        return torch.einsum("knd,kd->nd", self.aligned(outputs), self.weights)

    def aligned(self, outputs: torch.Tensor) -> torch.Tensor:
        """The outputs with the ellipticities of all networks turned to the first network's.

        Of the two signs each network takes the one nearer to the first, shape (n_networks, n, d).
        """
        n_networks, n_parameters = self.weights.shape
        if outputs.ndim != 3 or outputs.shape[::2] != (n_networks, n_parameters):
            raise OptionError(
                f"outputs of shape {tuple(outputs.shape)}; the combination takes "
                f"({n_networks}, n, {n_parameters})"
            )
        return self._towards(outputs, outputs[:1])

    @torch.no_grad()
    def fit(self, outputs: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
        """Find the weights of the least mean squared error.

        Where signs are not known, signs of the truths and weights are found in turn until no sign
        changes: each step lowers the flip-invariant error.

        Parameters
        ----------
        outputs
            Of the networks for lenses that none was trained on, shape (n_networks, n, d).
        true
            Shape (n, d).

        Returns
        -------
        Root mean square of what is left, of each parameter, shape (d,).

        Raises
        ------
        OptionError
            If shapes do not fit, there are fewer lenses than networks, or a value is not finite.
        """
        outputs = self.aligned(outputs.double())
        if true.shape != outputs.shape[1:]:
            raise OptionError(
                f"truths of shape {tuple(true.shape)} for outputs of {tuple(outputs.shape[1:])}"
            )
        if true.shape[0] < outputs.shape[0]:
            raise OptionError(
                f"{true.shape[0]} lenses do not fix the weights of {outputs.shape[0]} networks; "
                "give more"
            )
        if not (outputs.isfinite().all() and true.isfinite().all()):
            raise OptionError("outputs or truths hold NaN or infinite values; leave those out")
        combined = torch.einsum("knd,kd->nd", outputs, self.weights.double())
        signed = self._towards(true.double(), combined)
        for _ in range(_MAX_ROUNDS):
            weights = _least_squares(outputs, signed)
            combined = torch.einsum("knd,kd->nd", outputs, weights)
            previous, signed = signed, self._towards(signed, combined)
            if torch.equal(previous, signed):
                break
        self.weights.copy_(weights)
        return (combined - signed).square().mean(0).sqrt().to(self.weights.dtype)

    def _towards(self, values: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        """Values with the sign of the ellipticity that is nearer to the reference's."""
        values = values.clone()
        product = values[..., self.columns] * reference[..., self.columns]
        sign = torch.where(product.sum(-1, keepdim=True) < 0.0, -1.0, 1.0)
        values[..., self.columns] *= sign.to(values.dtype)
        return values


def _least_squares(outputs: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Weights, shape (k, d), of outputs (k, n, d); the smallest ones where networks agree.

    The pseudo-inverse: of two equal networks each has half of the weight.
    """
    inverse = torch.linalg.pinv(outputs.permute(2, 1, 0))
    return torch.einsum("dkn,nd->kd", inverse, true)
