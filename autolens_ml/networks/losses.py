"""Losses of networks that give numbers, or numbers with errors, instead of densities."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from autolens_ml.exceptions import OptionError

__all__ = ["ELLIPTICITY", "flip_invariant_mse", "gaussian_nll"]

# Columns of the ellipticity among Ensai's parameters: Einstein radius, e_x, e_y, x, y.
ELLIPTICITY = (1, 2)


def flip_invariant_mse(
    predicted: torch.Tensor,
    true: torch.Tensor,
    weights: torch.Tensor | None = None,
    columns: Sequence[int] = ELLIPTICITY,
) -> torch.Tensor:
    r"""Mean squared error that does not know the sign of an ellipticity.

    .. math::

        L = \frac{1}{n} \sum_i \min_{s = \pm 1} \frac{1}{d} \sum_p
        w_p \, (\hat y_{ip} s_p - y_{ip})^2,
        \qquad s_p = s \text{ in } columns, 1 \text{ elsewhere}.

    Where the angle of an ellipticity is not doubled, (e_x, e_y) and (-e_x, -e_y) are the same lens
    and the truth has either sign at random: under a plain squared error a network does best to
    answer zero. Both signs flip together, so one minimum is taken for each lens. Hezaveh et al.
    2017 weight with a matrix, of which only the sums of the rows act: these are the weights here.

    Parameters
    ----------
    predicted, true
        Shape (n, d).
    weights
        Of the parameters, shape (d,); one by default. With one over the variance of each parameter
        all count alike, whatever their units.
    columns
        Of the components that flip together.

    Returns
    -------
    A scalar.

    Raises
    ------
    OptionError
        If shapes do not fit.
    """
    _check(predicted, true)
    n_parameters = true.shape[1]
    if weights is not None and weights.shape != (n_parameters,):
        raise OptionError(
            f"weights of shape {tuple(weights.shape)}; give one for each of {n_parameters} "
            "parameters"
        )
    sign = torch.ones_like(true[0])
    sign[list(columns)] = -1.0
    errors = torch.stack((predicted - true, predicted * sign - true)).square()
    if weights is not None:
        errors = errors * weights
    return errors.mean(-1).amin(0).mean()


def gaussian_nll(
    predicted: torch.Tensor, log_variance: torch.Tensor, true: torch.Tensor
) -> torch.Tensor:
    r"""Negative log likelihood of a Gaussian whose width the network gives with its prediction.

    .. math::

        L = \frac{1}{n d} \sum_{ip} \left[ \frac{(\hat y_{ip} - y_{ip})^2}{2 \sigma_{ip}^2}
        + \frac{1}{2} \ln \sigma_{ip}^2 \right],

    without its constant :math:`\frac{1}{2} \ln 2 \pi`. A squared error says nothing of how far a
    prediction may be trusted; here the network learns an error for each image (Kendall & Gal 2017,
    arXiv:1703.04977). That is the noise of the data, to which Perreault Levasseur et al. 2017 add
    the scatter of draws of its dropout: total variance = mean of the variances + variance of the
    means.

    Parameters
    ----------
    predicted, log_variance, true
        Shape (n, d); the logarithm keeps the variance positive and its gradient tame.

    Returns
    -------
    A scalar.

    Raises
    ------
    OptionError
        If shapes differ.
    """
    _check(predicted, true)
    _check(log_variance, true)
    return 0.5 * ((predicted - true).square() * (-log_variance).exp() + log_variance).mean()


def _check(predicted: torch.Tensor, true: torch.Tensor) -> None:
    # Broadcasting would hide the mistake.
    if predicted.shape != true.shape or true.ndim != 2:
        raise OptionError(
            f"predictions of shape {tuple(predicted.shape)} for truths of shape "
            f"{tuple(true.shape)}; both must be (n, d)"
        )
