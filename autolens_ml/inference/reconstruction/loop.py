r"""The loop of a Recurrent Inference Machine: a network that descends the likelihood of a lens.

Source and convergence are found together (Adam et al. 2023, arXiv:2301.04168). In each step the
pixelized lens gives the gradients of the likelihood at the current maps, and the network, which
remembers earlier steps, gives the next ones:

.. math:: (\Delta x,\, h_{t+1}) = U(d,\, x_t,\, \hat g_t,\, h_t), \qquad x_{t+1} = x_t + \Delta x,

where x are the latents of the source, the common logarithm of the convergence, and the external
shear, and the gradients are preconditioned as the steps of Adam (Kingma & Ba 2015,
arXiv:1412.6980). The gradients are data of the network: what it learns does not flow through them.

Beyond what was published, a network may see the residuals in units of the noise, the noise, the
width of the point spread function, and the residuals projected back onto the source.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import nn
from torch.nn.functional import avg_pool2d, softplus

from autolens_ml.exceptions import OptionError
from autolens_ml.physics import PixelizedLens, normalised_residuals

__all__ = [
    "FEATURES",
    "Latents",
    "Loop",
    "LoopOptions",
    "Observed",
    "State",
    "gaussian_psfs",
    "units_of",
]

#: What a network may be given, in this order: each a map, but for shears, which are two.
FEATURES = (
    "image",
    "source",
    "convergence",
    "source_gradient",
    "convergence_gradient",
    "residuals",
    "noise",
    "psf",
    "back_projection",
    "shear",
    "shear_gradient",
)
_OF_TWO = ("shear", "shear_gradient")
_LINKS = ("identity", "softplus")
# Adam's decay rates as published, and what keeps its quotient finite.
_BETA_1, _BETA_2, _EPSILON = 0.9, 0.99, 1e-8
# Width of the bend of the softplus, in units of the data.
_BEND = 0.02
# Noise of masked pixels as networks see it, in units of the data: none is as large.
_MASKED = 1.0
# Shears are of this size.
_SHEAR = 0.05
# Back-projections are between minus and plus this, in units of the data.
_BRIGHTEST = 3.0
# A source pixel is seen when it has this share of the weight of the one seen best.
_SEEN = 1e-3
_FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))


@dataclass(frozen=True, kw_only=True)
class LoopOptions:
    """The lens that is reconstructed, and how.

    Attributes
    ----------
    shape : tuple of int
        Rows and columns of image and convergence.
    pixel_scale : float
        Side of their pixels [arcsec].
    source_shape : tuple of int
        Rows and columns of the source, as many as those of the image.
    source_pixel_scale : float
        Side of its pixels [arcsec].
    over_sampling : int
        Rays along each side of a pixel of the image.
    lookup : str
        ``"bilinear"`` or ``"bicubic"``, see :class:`~autolens_ml.physics.PixelizedLens`.
    n_steps : int
        Steps, which are calls of the network; the first sees no gradient.
    source_link : str
        From latents of the source to its surface brightness: ``"identity"``, or ``"softplus"``,
        which keeps it above zero.
    start_radius : float
        Einstein radius of the isothermal sphere from which the convergence starts [arcsec]; 0 for a
        convergence of one everywhere, as published.
    features : tuple of str
        What the network is given, of :data:`FEATURES` and in their order.

    Raises
    ------
    OptionError
        When one of them is out of its range.
    """

    shape: tuple[int, int] = (48, 48)
    pixel_scale: float = 0.1
    source_shape: tuple[int, int] = (48, 48)
    source_pixel_scale: float = 0.05
    over_sampling: int = 2
    lookup: str = "bilinear"
    n_steps: int = 8
    source_link: str = "softplus"
    start_radius: float = 1.0
    features: tuple[str, ...] = FEATURES

    def __post_init__(self) -> None:
        for name in ("shape", "source_shape", "features"):
            value = getattr(self, name)
            if isinstance(value, str) or not hasattr(value, "__len__"):
                raise OptionError(f"loop: {name} must be a list, not {value!r}")
            object.__setattr__(self, name, tuple(value))
        if self.shape != self.source_shape:
            raise OptionError(
                f"loop: shape {self.shape} and source_shape {self.source_shape} are channels of "
                "one network: make them the same"
            )
        if not isinstance(self.n_steps, int) or self.n_steps < 1:
            raise OptionError(f"loop: n_steps must be a whole number above 0, not {self.n_steps!r}")
        if self.source_link not in _LINKS:
            raise OptionError(
                f"loop: source_link must be one of {', '.join(_LINKS)}, not {self.source_link!r}"
            )
        if not 0.0 <= self.start_radius < np.inf:
            raise OptionError(f"loop: start_radius must be 0 or more, not {self.start_radius!r}")
        in_order = tuple(name for name in FEATURES if name in self.features)
        if not in_order or self.features != in_order:
            raise OptionError(
                f"loop: features must be some of {', '.join(FEATURES)}, in this order, not "
                f"{', '.join(map(str, self.features))}"
            )

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """The options that a mapping describes.

        Raises
        ------
        OptionError
            When an entry is unknown or out of its range.
        """
        known = [entry.name for entry in fields(cls)]
        if not isinstance(values, Mapping) or set(values) - set(known):
            raise OptionError(f"loop: {values!r} is no mapping of {', '.join(known)}")
        return cls(**values)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @property
    def n_inputs(self) -> int:
        """Channels that the network is given."""
        return len(self.features) + sum(name in _OF_TWO for name in self.features)


@dataclass(frozen=True)
class Observed:
    """A batch of lenses as they are observed, without light of the lens.

    Attributes
    ----------
    image, noise_map : Tensor
        Shape (n, y, x), in units in which images have a peak of about one (:func:`units_of`).
    mask : Tensor
        1 where data are used and 0 elsewhere, of the same shape.
    psf : Tensor
        Point spread functions in the pixels of the image, (n, ky, kx), odd sizes, of sum one.
    psf_fwhm : Tensor
        Their full widths at half maximum [arcsec], shape (n,).
    """

    image: torch.Tensor
    noise_map: torch.Tensor
    mask: torch.Tensor
    psf: torch.Tensor
    psf_fwhm: torch.Tensor

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, rows: Any) -> Observed:
        return Observed(*(value[rows] for value in vars(self).values()))


class Latents(NamedTuple):
    """What is sought, in the numbers that networks change.

    Attributes
    ----------
    source : Tensor
        What the link takes to surface brightness, shape (n, rows, columns).
    convergence : Tensor
        Common logarithm of the convergence, shape (n, y, x).
    shear : Tensor
        gamma_1 and gamma_2, shape (n, 2).
    """

    source: torch.Tensor
    convergence: torch.Tensor
    shear: torch.Tensor


class State(NamedTuple):
    """A step of the loop.

    Attributes
    ----------
    latents : Latents
        After the step.
    source : Tensor
        Surface brightness, shape (n, rows, columns).
    image : Tensor
        Of these maps, blurred, shape (n, y, x).
    chi_squared : Tensor
        Reduced: the mean of squared normalised residuals of the pixels that are used, shape (n,).
    """

    latents: Latents
    source: torch.Tensor
    image: torch.Tensor
    chi_squared: torch.Tensor

    def row(self, i: int) -> State:
        """One lens of the batch, as a batch of one."""
        rows = slice(i, i + 1)
        latents = Latents(*(each[rows] for each in self.latents))
        return State(latents, *(each[rows] for each in self[1:]))


class _Sight(NamedTuple):
    """What the likelihood says of a state, of which networks are told."""

    residuals: torch.Tensor
    gradients: Latents
    back_projection: torch.Tensor


class _Moments(NamedTuple):
    """Running means of gradients and of their squares."""

    mean: Latents
    square: Latents


class Loop(nn.Module):
    """The steps of a reconstruction; it has no weights of its own.

    Parameters
    ----------
    options
        The lens, and how it is reconstructed.

    Attributes
    ----------
    options : LoopOptions
        As given.
    lens : PixelizedLens
        The forward model.
    """

    def __init__(self, options: LoopOptions) -> None:
        super().__init__()
        self.options = options
        self.lens = PixelizedLens(
            options.shape,
            options.pixel_scale,
            options.source_shape,
            options.source_pixel_scale,
            over_sampling=options.over_sampling,
            lookup=options.lookup,
            log_convergence=True,
        )
        self.register_buffer("start_convergence", _start(options), persistent=False)

    def start(self, n: int) -> Latents:
        """Where the loop starts, for n lenses."""
        zeros = self.start_convergence.new_zeros
        return Latents(
            zeros(n, *self.options.source_shape),
            self.start_convergence.expand(n, -1, -1),
            zeros(n, 2),
        )

    def surface_brightness(self, latents: torch.Tensor) -> torch.Tensor:
        """The source of its latents, of their shape."""
        if self.options.source_link == "identity":
            return latents
        return _BEND * softplus(latents / _BEND)

    def state(self, observed: Observed, latents: Latents) -> State:
        """Image and chi-squared of latents; both can be differentiated in them."""
        source = self.surface_brightness(latents.source)
        image = self.lens(latents.convergence, source, latents.shear, observed.psf)
        return State(latents, source, image, self.chi_squared_of(observed, image))

    @staticmethod
    def chi_squared_of(observed: Observed, image: torch.Tensor) -> torch.Tensor:
        """Reduced chi-squared of images, shape (n, y, x): over the pixels that are used, (n,)."""
        residuals = normalised_residuals(image, observed.image, observed.noise_map, observed.mask)
        return residuals.square().sum(dim=(1, 2)) / observed.mask.sum(dim=(1, 2))

    def unroll(
        self,
        network: nn.Module,
        observed: Observed,
        n_steps: int | None = None,
        through_lens: bool = False,
    ) -> list[State]:
        """The states after each step.

        Latents can be differentiated in the weights of the network. The gradients that the network
        is given cannot: they are data.

        Parameters
        ----------
        network
            A :class:`~autolens_ml.networks.rim.RecurrentInferenceMachine`, of as many inputs as the
            features are, two maps and two numbers (no number: no shear).
        observed
            The data, on the grid of the options.
        n_steps
            Those of the options by default.
        through_lens
            Whether images and chi-squared can be differentiated in the weights as well.

        Returns
        -------
        list of State
            One for each step.
        """
        n_steps = self.options.n_steps if n_steps is None else n_steps
        latents = self.start(len(observed))
        through_lens = through_lens and torch.is_grad_enabled()
        hidden, sight, moments, states = None, None, None, []
        for t in range(1, n_steps + 1):
            updates, numbers, hidden = network(self._features(observed, latents, sight), hidden)
            updates, shear = updates.float(), latents.shear
            if numbers.shape[1]:
                shear = shear + _SHEAR * numbers.float()
            latents = Latents(
                latents.source + updates[:, 0], latents.convergence + updates[:, 1], shear
            )
            state, sight = self._seen(observed, latents, through_lens, t < n_steps)
            states.append(state)
            if sight is not None:
                moments, gradients = _preconditioned(moments, sight.gradients, t)
                sight = sight._replace(gradients=gradients)
        return states

    def _seen(
        self, observed: Observed, latents: Latents, through_lens: bool, goes_on: bool
    ) -> tuple[State, _Sight | None]:
        """The state at latents, and what the likelihood says of it if there is another step.

        The gradient in the source is that in its surface brightness, which does not vanish where
        the link is flat.
        """
        with torch.set_grad_enabled(through_lens or goes_on):
            at = Latents(
                *(
                    each
                    if through_lens and each.requires_grad
                    else each.detach().requires_grad_(goes_on)
                    for each in latents
                )
            )
            state = self.state(observed, at)
            sight = self._sight(observed, state) if goes_on else None
        if not through_lens:
            source = self.surface_brightness(latents.source)
            state = State(latents, source, state.image.detach(), state.chi_squared.detach())
        return state, sight

    def _sight(self, observed: Observed, state: State) -> _Sight:
        """Residuals, gradients of half chi-squared, and residuals projected back to the source."""
        used = observed.mask > 0
        noise = torch.where(used, observed.noise_map, 1.0)
        weights = used / noise.square()
        difference = observed.image - state.image.detach()
        unknown = (state.source, state.latents.convergence, state.latents.shear)
        gradients = torch.autograd.grad(
            state.image, unknown, -weights * difference, retain_graph=True
        )
        (seen,) = torch.autograd.grad(state.image, state.source, weights, retain_graph=True)
        least = _SEEN * seen.amax(dim=(1, 2), keepdim=True) + _EPSILON
        projected = (-gradients[0] / (seen + least)).clamp(-_BRIGHTEST, _BRIGHTEST)
        return _Sight(used * difference / noise, Latents(*gradients), projected)

    def _features(self, observed: Observed, latents: Latents, sight: _Sight | None) -> torch.Tensor:
        """The network's channels, shape (n, n_inputs, y, x)."""
        used = observed.mask > 0
        image = torch.where(used, observed.image, 0.0)
        noise = torch.where(used, observed.noise_map, 1.0)
        zero = torch.zeros_like(image)
        if sight is None:
            nothing = Latents(zero, zero, torch.zeros_like(latents.shear))
            sight = _Sight(image / noise, nothing, zero)

        def constant(values: torch.Tensor) -> torch.Tensor:
            """Numbers, shape (n, k), as maps (n, k, y, x)."""
            return values[:, :, None, None].expand(-1, -1, *zero.shape[1:])

        made = {
            "image": image,
            "source": self.surface_brightness(latents.source),
            "convergence": latents.convergence,
            "source_gradient": sight.gradients.source,
            "convergence_gradient": sight.gradients.convergence,
            "residuals": torch.asinh(sight.residuals),
            "noise": torch.where(used, noise.log10(), _MASKED),
            "psf": constant(observed.psf_fwhm[:, None] / self.options.pixel_scale),
            "back_projection": sight.back_projection,
            "shear": constant(latents.shear / _SHEAR),
            "shear_gradient": constant(sight.gradients.shear),
        }
        channels = [made[name] for name in self.options.features]
        return torch.cat([c if c.ndim == 4 else c[:, None] for c in channels], dim=1)


def _preconditioned(
    moments: _Moments | None, gradients: Latents, t: int
) -> tuple[_Moments, Latents]:
    """Running moments with the gradients of step t, from 1, and Adam's direction."""
    if moments is None:
        zeros = Latents(*(torch.zeros_like(each) for each in gradients))
        moments = _Moments(zeros, zeros)
    mean = Latents(
        *(_BETA_1 * m + (1.0 - _BETA_1) * g for m, g in zip(moments.mean, gradients, strict=True))
    )
    square = Latents(
        *(
            _BETA_2 * v + (1.0 - _BETA_2) * g.square()
            for v, g in zip(moments.square, gradients, strict=True)
        )
    )
    bias = (1.0 - _BETA_1**t, 1.0 - _BETA_2**t)
    return _Moments(mean, square), Latents(
        *(
            (m / bias[0]) / ((v / bias[1]).sqrt() + _EPSILON)
            for m, v in zip(mean, square, strict=True)
        )
    )


def _start(options: LoopOptions) -> torch.Tensor:
    """Logarithm of the convergence of an isothermal sphere in pixels, shape (y, x)."""
    if options.start_radius == 0.0:
        return torch.zeros(options.shape)
    y, x = (np.arange(n) - 0.5 * (n - 1) for n in options.shape)
    # The core is the mean distance of a pixel's points from its middle, roughly.
    radius = options.pixel_scale * np.sqrt(y[:, None] ** 2 + x**2 + 0.4**2)
    return torch.from_numpy(np.log10(0.5 * options.start_radius / radius)).float()


def gaussian_psfs(fwhm: torch.Tensor, pixel_scale: float, size: int) -> torch.Tensor:
    """Round Gaussians sampled at the centres of pixels, of sum one, shape (n, size, size).

    Parameters
    ----------
    fwhm
        Full widths at half maximum [arcsec], shape (n,).
    pixel_scale
        Side of a pixel [arcsec].
    size
        Pixels a side, odd.
    """
    places = pixel_scale * (torch.arange(size, device=fwhm.device) - size // 2)
    squared = places[:, None].square() + places.square()
    kernels = torch.exp(-0.5 * squared * (_FWHM_PER_SIGMA / fwhm[:, None, None]).square())
    return kernels / kernels.sum(dim=(1, 2), keepdim=True)


def units_of(image: torch.Tensor, noise_map: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """In what units images have a peak of about one, shape (n,).

    The largest mean of three pixels by three, and at least the typical noise of a pixel.

    Parameters
    ----------
    image, noise_map, mask
        As in :class:`Observed`, in any units, shape (n, y, x).
    """
    used = (mask > 0).float()
    light, number = (
        avg_pool2d(each[:, None], 3, stride=1, padding=1)[:, 0]
        for each in (torch.where(used > 0, image, 0.0), used)
    )
    # Where most of a window is masked, a mean is of too few.
    means = torch.where(number > 0.5, light / number.clamp(min=0.1), -torch.inf)
    typical = torch.where(used > 0, noise_map, torch.nan).flatten(1).nanmedian(dim=1).values
    return torch.maximum(means.amax(dim=(1, 2)), typical)
