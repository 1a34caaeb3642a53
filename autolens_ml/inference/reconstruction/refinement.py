r"""A reconstruction brought to the noise by the likelihood: the network proposes, the data decide.

The maps that a network found are the mean of a Gaussian prior, whose most probable maps given the
data are sought by L-BFGS:

.. math:: J(\xi) = \frac{\chi^2(x_0 + L \xi)}{2} + \frac{|\xi|^2}{2},

where L gives deviations their size and smoothness: of the logarithm of the convergence a random
field with a power-law spectrum and a change of all of it, of the source less where it is dark, and
of the shear. It ends where the data are reproduced to the noise. Nothing is random.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize

from autolens_ml.exceptions import DataError, OptionError
from autolens_ml.inference.reconstruction.loop import Latents, Loop, Observed

__all__ = ["Refinement", "refined"]

# The periodic field of which a frame is cut out is as many times as wide.
_WIDE = 2


@dataclass(frozen=True, kw_only=True)
class Refinement:
    """How far maps may go from those of the network, one standard deviation, and for how long.

    Attributes
    ----------
    convergence : float
        Of the logarithm of the convergence: of the field, and of all of it together [dex].
    convergence_slope : float
        The power of the field goes with minus this power of the wavenumber.
    source, source_floor : float
        Of the source: as a share of its own brightness, and of that of the data.
    source_slope : float
        Of the random field that is multiplied by them.
    shear : float
        Of each component.
    n_steps : int
        Most steps of L-BFGS.
    target : float
        Reduced chi-squared at which the refinement ends.

    Raises
    ------
    OptionError
        When one of them is out of its range.
    """

    convergence: float = 0.05
    convergence_slope: float = 3.0
    source: float = 0.3
    source_floor: float = 0.05
    source_slope: float = 2.0
    shear: float = 0.02
    n_steps: int = 200
    target: float = 1.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0.0 <= value < np.inf:
                raise OptionError(f"refinement: {name} must be 0 or more, not {value!r}")
        if not isinstance(self.n_steps, int) or self.n_steps < 1:
            raise OptionError(
                f"refinement: n_steps must be a whole number > 0, not {self.n_steps!r}"
            )


def refined(
    loop: Loop, observed: Observed, latents: Latents, options: Refinement
) -> tuple[Latents, np.ndarray]:
    """The most probable maps of one lens around those of a network.

    Parameters
    ----------
    loop
        Whose lens it is.
    observed
        A batch of one.
    latents
        Of the network, a batch of one.
    options
        How far from them.

    Returns
    -------
    latents : Latents
        Refined.
    chi_squared : ndarray
        Reduced, at first and after each step.

    Raises
    ------
    DataError
        When the data are of several lenses.
    """
    if len(observed) != 1:
        raise DataError(f"{len(observed)} lenses: they are refined one at a time")
    problem = _Problem(loop, observed, latents, options)
    problem.keep(np.zeros(problem.size))
    if problem.history[-1] > options.target:
        minimize(
            problem.value_and_gradient,
            np.zeros(problem.size),
            jac=True,
            method="L-BFGS-B",
            callback=problem.keep,
            options={"maxiter": options.n_steps, "maxfun": 2 * options.n_steps, "maxcor": 20},
        )
    return problem.best, np.array(problem.history)


class _Problem:
    """From unit-normal numbers to maps, and to what is lowered."""

    def __init__(
        self, loop: Loop, observed: Observed, latents: Latents, options: Refinement
    ) -> None:
        self._loop, self._observed, self._options = loop, observed, options
        self._start = Latents(*(each.detach() for each in latents))
        rows, columns = latents.convergence.shape[1:]
        self._wide = (_WIDE * rows, _WIDE * columns)
        light = loop.surface_brightness(self._start.source)
        self._of_source = options.source * light + options.source_floor
        self._amplitudes = [
            _amplitude(self._wide, slope)
            for slope in (options.source_slope, options.convergence_slope)
        ]
        self._shapes = ((1, *self._wide), (1, *self._wide), (1, 1, 1), latents.shear.shape)
        self._numbers = [int(np.prod(shape)) for shape in self._shapes]
        self.size = sum(self._numbers)
        self.history: list[float] = []
        self.best = self._start

    def _latents(self, xi: torch.Tensor) -> Latents:
        parts = [
            part.reshape(shape)
            for part, shape in zip(xi.split(self._numbers), self._shapes, strict=True)
        ]
        options, start = self._options, self._start
        rows, columns = start.convergence.shape[1:]
        of_source, of_convergence = (
            torch.fft.irfft2(
                amplitude * torch.fft.rfft2(part, norm="ortho"), self._wide, norm="ortho"
            )[:, :rows, :columns]
            for amplitude, part in zip(self._amplitudes, parts[:2], strict=True)
        )
        return Latents(
            start.source + self._of_source * of_source,
            start.convergence + options.convergence * (of_convergence + parts[2]),
            start.shear + options.shear * parts[3],
        )

    def value_and_gradient(self, xi: np.ndarray) -> tuple[float, np.ndarray]:
        """What is lowered, and its gradient, at unit-normal numbers, shape (size,)."""
        at = torch.from_numpy(xi).float().requires_grad_()
        with torch.enable_grad():
            state = self._loop.state(self._observed, self._latents(at))
            n_used = self._observed.mask.sum()
            value = 0.5 * (n_used * state.chi_squared[0] + at.square().sum())
            (gradient,) = torch.autograd.grad(value, at)
        return float(value.detach()), gradient.double().numpy()

    @torch.no_grad()
    def keep(self, xi: np.ndarray) -> None:
        """Note a step; the end if the data are reproduced.

        Raises
        ------
        StopIteration
            At the target, which ends the search.
        """
        latents = self._latents(torch.from_numpy(xi).float())
        chi_squared = float(self._loop.state(self._observed, latents).chi_squared[0])
        if not self.history or chi_squared < min(self.history):
            self.best = latents
        self.history.append(chi_squared)
        if len(self.history) > 1 and chi_squared <= self._options.target:
            raise StopIteration


def _amplitude(shape: tuple[int, int], slope: float) -> torch.Tensor:
    """Of the waves of a real field whose pixels have a variance of one and no mean."""
    wavenumber = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1]))
    power = np.zeros(shape)
    waves = wavenumber > 0.0
    power[waves] = (wavenumber[waves] / wavenumber[waves].min()) ** -slope
    amplitude = np.sqrt(power / power.mean())
    return torch.from_numpy(amplitude[:, : shape[1] // 2 + 1]).float()
