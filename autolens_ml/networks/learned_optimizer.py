"""A learned optimiser: a recurrent inference machine for any number of parameters.

One small recurrent network is shared by all coordinates (Andrychowicz et al. 2016,
arXiv:1606.04474), as the recurrent inference machine of Putzky & Welling (2017, arXiv:1706.04008)
is by all pixels. It sees what an optimiser knows at a point, gradient and curvature learned on the
way, and answers with a step. No gradient of a gradient is ever taken: the objective may be a black
box that gives values and gradients.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

# What every coordinate sees, and what all of them see.
_N_LOCAL, _N_GLOBAL = 12, 9
# Decay of the running moments of the gradient (Kingma & Ba 2015), in few steps.
_DECAY, _SQUARE_DECAY = 0.8, 0.95
# The first step's root mean square, in prior standard deviations, and bounds of any later one's.
_FIRST_RADIUS, _SMALLEST_RADIUS, _LARGEST_RADIUS = 0.2, 1e-7, 1.5
# Longest next step after one that failed, and after one that gained, in units of that one.
_SHRINK, _GROW = 0.35, 2.0
# Powell's damping keeps curvatures positive (Nocedal & Wright 2006, procedure 18.2).
_DAMPING = 0.2
# Beyond this many prior standard deviations nothing is looked for.
_BOUND = 8.0
# Range of the logarithms of the damping and of the length that the network answers with.
_LOG_DAMPING, _LOG_LENGTH = 8.0, 2.0
_TINY = 1e-30


@dataclass(frozen=True)
class Climb:
    """Where climbs are, and all that is remembered of their way; n climbs in dim coordinates.

    Attributes
    ----------
    z, value, gradient : Tensor
        The best points, shapes (n, dim), (n,) and (n, dim), in double precision: latents, log
        posteriors and gradients there.
    curvature : Tensor
        Minus the second derivatives as learned from gradients, positive definite, (n, dim, dim).
    mean, square : Tensor
        Running moments of the gradients, (n, dim).
    radius : Tensor
        Root mean square that the next step may have, (n,).
    step, gain, expected, gradient_there : Tensor
        The last step, (n, dim); what it gained and should have gained, (n,); the gradient at its
        end, (n, dim).
    hidden : Tensor
        Memory of the network, (n, dim, n_hidden), in single precision.
    n_steps : int
        Steps made.
    """

    z: Tensor
    value: Tensor
    gradient: Tensor
    curvature: Tensor
    mean: Tensor
    square: Tensor
    radius: Tensor
    step: Tensor
    gain: Tensor
    expected: Tensor
    gradient_there: Tensor
    hidden: Tensor
    n_steps: int = 0

    def __getitem__(self, rows: Tensor) -> Climb:
        """Some of the climbs."""
        arrays = {k: v[rows] for k, v in vars(self).items() if isinstance(v, Tensor)}
        return replace(self, **arrays)

    def detached(self) -> Climb:
        """The same, cut off from what led to it: derivatives of a loss end here."""
        arrays = {k: v.detach() for k, v in vars(self).items() if isinstance(v, Tensor)}
        return replace(self, **arrays)


class LearnedOptimizer(nn.Module):
    """Climbs a log posterior in unit-normal latents by learned steps.

    Every step is (B + diag(damping))^-1 g + ..., cut to a length, where B is the curvature that
    gradients have shown so far (BFGS): with no damping a quasi-Newton step, with much of it a
    gradient step with a rate of its own in each coordinate. Damping, length and a share of the
    direction of Adam are the network's answer. A step that does not gain is not made, but it
    teaches curvature, and the next one is shorter. Coordinates may be permuted: steps are permuted
    with them.

    Parameters
    ----------
    n_hidden
        Size of each coordinate's memory.

    Attributes
    ----------
    config : dict
        The arguments.
    """

    def __init__(self, n_hidden: int = 24) -> None:
        super().__init__()
        self.config = {"n_hidden": n_hidden}
        self.embedding = nn.Linear(_N_LOCAL + _N_GLOBAL, n_hidden)
        self.cell = nn.GRUCell(2 * n_hidden, n_hidden)
        self.local_head = nn.Linear(2 * n_hidden, 3)
        self.global_head = nn.Sequential(
            nn.Linear(n_hidden, n_hidden), nn.Tanh(), nn.Linear(n_hidden, 3)
        )
        # An untrained network answers with zeros, which is a sound optimiser already.
        for layer in (self.local_head, self.global_head[-1]):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def start(self, z: Tensor, value: Tensor, gradient: Tensor) -> Climb:
        """Begin climbs.

        Parameters
        ----------
        z
            Latents, shape (n, dim), in double precision.
        value
            Their log posteriors, shape (n,); finite.
        gradient
            And gradients, shape (n, dim); finite.
        """
        n, dim = z.shape
        zeros = torch.zeros_like(z)
        # The prior alone has curvature one.
        curvature = torch.eye(dim, dtype=z.dtype, device=z.device).expand(n, dim, dim)
        return Climb(
            z=z,
            value=value,
            gradient=gradient,
            curvature=curvature.clone(),
            mean=(1.0 - _DECAY) * gradient,
            square=(1.0 - _SQUARE_DECAY) * gradient**2,
            radius=torch.full_like(value, _FIRST_RADIUS),
            step=zeros,
            gain=torch.zeros_like(value),
            expected=torch.zeros_like(value),
            gradient_there=gradient,
            hidden=torch.zeros(n, dim, self.config["n_hidden"], device=z.device),
        )

    def forward(self, climb: Climb) -> tuple[Climb, Tensor]:
        """The points to look at next.

        Returns
        -------
        climb : Climb
            To be given to :meth:`advanced`.
        z : Tensor
            Latents, shape (n, dim).
        """
        adam = _adam(climb)
        newton = torch.linalg.solve(climb.curvature, climb.gradient)
        hidden, local, shared = self._answer(_features(climb, adam, newton), climb.hidden)
        n_local, n_shared = local.double(), shared.double()[:, None, :]
        radius = climb.radius[:, None]
        # The damping at which a gradient step is as long as it may be.
        scale = _rms(climb.gradient)[:, None] / radius
        log_damping = (n_local[..., 0] + n_shared[..., 0] - 3.0).clamp(-_LOG_DAMPING, _LOG_DAMPING)
        damping = scale * torch.exp(log_damping)
        step = torch.linalg.solve(climb.curvature + torch.diag_embed(damping), climb.gradient)
        share = 0.3 * (n_local[..., 1] * n_shared[..., 1].exp().clamp(max=10.0))
        step = step * torch.exp(0.5 * torch.tanh(n_local[..., 2])) + share * radius * adam
        length = radius * torch.exp(_LOG_LENGTH * torch.tanh(n_shared[..., 2]))
        length = length.clamp(_SMALLEST_RADIUS, _LARGEST_RADIUS)
        step = step * (length / _rms(step)[:, None].clamp_min(_TINY)).clamp(max=1.0)
        z = (climb.z + step).clamp(-_BOUND, _BOUND)
        return replace(climb, hidden=hidden), z

    def advanced(self, climb: Climb, z: Tensor, value: Tensor, gradient: Tensor) -> Climb:
        """What climbs have come to once their next points have been looked at.

        Parameters
        ----------
        climb, z
            As :meth:`forward` gave them.
        value, gradient
            The log posteriors there, shape (n,), and their gradients; a value that is not finite
            is a wall.
        """
        step = z - climb.z
        there = torch.isfinite(value) & torch.isfinite(gradient).all(dim=-1)
        gradient = torch.where(there[:, None], gradient, climb.gradient)
        change = climb.gradient - gradient
        bent = torch.einsum("nij,nj->ni", climb.curvature, step.detach())
        expected = (climb.gradient * step.detach()).sum(-1) - 0.5 * (step.detach() * bent).sum(-1)
        gain = torch.where(there, value - climb.value, -expected.abs() - 1.0).detach()
        better = there & (gain > 0.0)
        curvature = _learned(climb, step.detach(), change, bent, there)
        length = _rms(step.detach())
        # What a parabola through both values says of the best length, for steps that failed.
        slope = (climb.gradient * step.detach()).sum(-1)
        best = (0.5 * slope / (slope - gain).clamp_min(_TINY)).clamp(0.1, _SHRINK)
        good = gain > 0.5 * expected
        grown = torch.where(good, torch.maximum(climb.radius, _GROW * length), climb.radius)
        radius = torch.where(better, grown, length * best)
        pick = better[:, None]
        return replace(
            climb,
            z=torch.where(pick, z, climb.z),
            value=torch.where(better, value, climb.value),
            gradient=torch.where(pick, gradient, climb.gradient),
            curvature=curvature,
            mean=_DECAY * climb.mean + (1.0 - _DECAY) * gradient,
            square=_SQUARE_DECAY * climb.square + (1.0 - _SQUARE_DECAY) * gradient**2,
            radius=radius.clamp(_SMALLEST_RADIUS, _LARGEST_RADIUS),
            step=step.detach(),
            gain=gain,
            expected=expected,
            gradient_there=gradient,
            n_steps=climb.n_steps + 1,
        )

    def _answer(self, features: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        n, dim, size = hidden.shape
        embedded = torch.tanh(self.embedding(features))
        pooled = embedded.mean(dim=1, keepdim=True).expand_as(embedded)
        inputs = torch.cat([embedded, pooled], dim=-1).reshape(n * dim, -1)
        hidden = self.cell(inputs, hidden.reshape(n * dim, size)).reshape(n, dim, size)
        pooled = hidden.mean(dim=1)
        both = torch.cat([hidden, pooled[:, None].expand_as(hidden)], dim=-1)
        return hidden, self.local_head(both), self.global_head(pooled)


def _rms(vectors: Tensor) -> Tensor:
    """Root mean squares over the last axis."""
    return vectors.square().mean(dim=-1).clamp_min(_TINY).sqrt()


def _adam(climb: Climb) -> Tensor:
    """The direction of Adam, (n, dim): about one where gradients agree, small where they change."""
    n = climb.n_steps + 1
    mean = climb.mean / (1.0 - _DECAY**n)
    square = climb.square / (1.0 - _SQUARE_DECAY**n)
    return mean / square.clamp_min(_TINY).sqrt()


def _learned(climb: Climb, step: Tensor, change: Tensor, bent: Tensor, there: Tensor) -> Tensor:
    """The curvature after one more pair of gradients: BFGS with Powell's damping."""
    size = (step * bent).sum(-1)
    curved = (step * change).sum(-1)
    damped = curved < _DAMPING * size
    share = torch.where(damped, (1.0 - _DAMPING) * size / (size - curved).clamp_min(_TINY), 1.0)
    change = share[:, None] * change + (1.0 - share[:, None]) * bent
    curved = (step * change).sum(-1)
    curvature = climb.curvature
    if climb.n_steps == 0:
        # The first pair sets the scale of all directions (Nocedal & Wright 2006, equation 6.20).
        ratio = (change.square().sum(-1) / curved.clamp_min(_TINY)).clamp(1.0, 1e12)
        curvature = curvature * ratio[:, None, None]
        bent = bent * ratio[:, None]
        size = size * ratio
    updated = (
        curvature
        - bent[:, :, None] * bent[:, None, :] / size.clamp_min(_TINY)[:, None, None]
        + change[:, :, None] * change[:, None, :] / curved.clamp_min(_TINY)[:, None, None]
    )
    usable = there & (size > _TINY) & (curved > _TINY)
    return torch.where(usable[:, None, None], updated, climb.curvature)


@torch.no_grad()
def _features(climb: Climb, adam: Tensor, newton: Tensor) -> Tensor:
    """What each coordinate sees, (n, dim, n_features), of the order of one."""
    gradient, step, radius = climb.gradient, climb.step, climb.radius[:, None]
    rms = _rms(gradient)[:, None]
    diagonal = torch.diagonal(climb.curvature, dim1=1, dim2=2).clamp_min(_TINY)
    local = torch.stack(
        [
            climb.z / 2.0,
            adam,
            torch.asinh(gradient / rms),
            torch.log(gradient.abs() / rms + 1e-6) / 5.0,
            torch.sign(gradient),
            torch.asinh(newton / radius),
            torch.log(newton.abs() / radius + 1e-6) / 5.0,
            torch.asinh(step / radius),
            torch.asinh(climb.gradient_there / rms),
            torch.tanh(climb.gradient_there * step / (rms * radius)),
            torch.log(diagonal) / 10.0,
            torch.log(diagonal / diagonal.mean(dim=-1, keepdim=True)) / 5.0,
        ],
        dim=-1,
    )
    agreement = climb.gain / climb.expected.abs().clamp_min(1e-12)
    promised = 0.5 * (gradient * newton).sum(-1)
    shared = torch.stack(
        [
            torch.tanh(agreement),
            (climb.gain > 0.0).to(gradient),
            torch.asinh(climb.gain) / 10.0,
            torch.log(climb.radius) / 5.0,
            torch.log(rms[:, 0]) / 10.0,
            torch.log(_rms(newton) / climb.radius) / 5.0,
            torch.asinh(promised) / 10.0,
            torch.full_like(climb.value, climb.n_steps).log1p() / 4.0,
            torch.full_like(climb.value, float(gradient.shape[-1])).log() / 4.0,
        ],
        dim=-1,
    )
    features = torch.cat([local, shared[:, None].expand(-1, local.shape[1], -1)], dim=-1)
    return features.clamp(-6.0, 6.0).float()
