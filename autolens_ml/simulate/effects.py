"""What an observation does to the light of an arc: seeded effects on batches of images.

These are the effects that Hezaveh et al. 2017 (arXiv:1708.08842) apply afresh whenever a network
sees an image, with their ranges as defaults and pixels of 0.04". Light is in units of the brightest
pixel of the arcs. An effect is called with an :class:`Observation` and a ``torch.Generator`` on the
device of its images, and gives a new one; the same state of the generator gives the same result.
``ENSAI_EFFECTS`` is their whole sequence:

>>> generator = torch.Generator().manual_seed(1)
>>> observed = ENSAI_EFFECTS(Observation.of(torch.rand(8, 192, 192)), generator)

Five faults of Ensai, the code that came with the paper, are mended. Masks are applied. Light below
zero stays so under Poisson noise. Correlated noise has the power spectrum of a drizzled image, not
that of one noisy realisation, and no constant term, which was as large as the noise. Shifts are as
likely up as down. Images that would become NaN are left as they are, instead of being trained on as
zeros with truths of zero.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch

from autolens_ml.exceptions import OptionError

__all__ = [
    "ENSAI_EFFECTS",
    "BackgroundNoise",
    "CircularMasks",
    "CosmicRays",
    "Effect",
    "HotPixels",
    "LensLightResidual",
    "Normalisation",
    "Observation",
    "PSFBlur",
    "Pixellation",
    "PoissonNoise",
    "Sequence",
    "Shift",
    "ZeroPointBias",
]

# Half widths of a blurring kernel, in its rms.
_TRUNCATE = 4.0
# How often masks and shifts that hide too much are drawn again, before there is none.
_MAX_TRIES = 20
# Narrower point spread functions and drops [px] are none.
_SHARPEST = 1e-3

# Fields of effects that are shares, above zero, and whole numbers.
_SHARES = ("probability", "correlated", "keep", "square")
_POSITIVE = ("counts", "length", "drop", "number", "size")
_WHOLE = ("number", "size", "pixels")


@dataclass(frozen=True, eq=False)
class Observation:
    """A batch of images and what is known of them.

    Attributes
    ----------
    image : Tensor
        What is seen, shape (n, y, x), row 0 at +y.
    noise : Tensor
        Root mean square of the noise of each pixel, shape (n, y, x).
    mask : Tensor
        1 where data are used and 0 elsewhere, shape (n, y, x).
    arcs : Tensor
        Light of the lensed source alone, as it was simulated, shape (n, y, x).
    lens_light : Tensor
        Light of the lens galaxy, which is taken to be subtracted, shape (n, y, x).
    shift : Tensor
        Whole pixels by which everything was moved, shape (n, 2): towards +y and towards +x. Times
        the pixel scale, it is to be added to the centre (y, x) of the lens.
    psf_rms : Tensor
        Of the Gaussian by which the light was blurred, in pixels, shape (n,).
    """

    image: torch.Tensor
    noise: torch.Tensor
    mask: torch.Tensor
    arcs: torch.Tensor
    lens_light: torch.Tensor
    shift: torch.Tensor
    psf_rms: torch.Tensor

    @classmethod
    def of(cls, arcs: torch.Tensor, lens_light: torch.Tensor | None = None) -> Observation:
        """A perfect observation, without noise.

        Parameters
        ----------
        arcs
            Shape (n, y, x), of floating point, with a brightest pixel of about one.
        lens_light
            Shape (n, y, x); none by default.

        Raises
        ------
        OptionError
            If a shape or type is not so.
        """
        if arcs.ndim != 3 or not arcs.is_floating_point():
            raise OptionError(
                f"arcs of shape {tuple(arcs.shape)} and {arcs.dtype}; give (n, y, x) in floating "
                "point"
            )
        if lens_light is None:
            lens_light = torch.zeros_like(arcs)
        if lens_light.shape != arcs.shape:
            raise OptionError(
                f"lens_light of shape {tuple(lens_light.shape)} for arcs of {tuple(arcs.shape)}"
            )
        shift = torch.zeros(len(arcs), 2, dtype=torch.long, device=arcs.device)
        sharp = torch.zeros(len(arcs), dtype=arcs.dtype, device=arcs.device)
        none, all_used = torch.zeros_like(arcs), torch.ones_like(arcs)
        return cls(arcs, none, all_used, arcs, lens_light, shift, sharp)

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, rows: torch.Tensor | slice) -> Observation:
        return Observation(*(getattr(self, field.name)[rows] for field in fields(self)))

    def with_rows(self, rows: torch.Tensor, before: Observation, after: Observation) -> Observation:
        """This batch with ``rows``, taken out as ``before``, as they are in ``after``."""
        changes = {}
        for name in (field.name for field in fields(self)):
            if (values := getattr(after, name)) is not getattr(before, name):
                changes[name] = getattr(self, name).index_copy(0, rows, values)
        return replace(self, **changes)


@dataclass(frozen=True, kw_only=True)
class Effect(ABC):
    """Something that happens to an image, or does not.

    Pairs are ranges from which a value is drawn uniformly for each image; a number stands for the
    range of that number alone.

    Parameters
    ----------
    probability
        Share of the images to which it happens.

    Raises
    ------
    OptionError
        When a value is out of its range.
    """

    probability: float = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            name = f"{type(self).__name__}: {field.name}"
            if isinstance(field.default, tuple):
                pair = tuple(value) if isinstance(value, list | tuple) else (value, value)
                if len(pair) != 2:
                    raise OptionError(f"{name} takes the two ends of a range, not {value}")
                object.__setattr__(self, field.name, pair)
            elif isinstance(value, list | tuple):
                raise OptionError(f"{name} takes one number, not {value}")
            else:
                pair = (value, value)
            _check_range(field.name, name, *pair)

    def __call__(self, observation: Observation, generator: torch.Generator) -> Observation:
        """The observation with this effect, for a share of its images."""
        if self.probability == 1.0:
            return self.applied(observation, generator)
        drawn = torch.rand(len(observation), generator=generator, device=generator.device)
        rows = torch.nonzero(drawn < self.probability)[:, 0]
        if len(rows) == 0:
            return observation
        before = observation[rows]
        return observation.with_rows(rows, before, self.applied(before, generator))

    @abstractmethod
    def applied(self, observation: Observation, generator: torch.Generator) -> Observation:
        """The observation with this effect, for all of its images."""


@dataclass(frozen=True)
class Sequence:
    """Effects one after the other.

    Parameters
    ----------
    effects
        In the order of their application.
    """

    effects: tuple[Effect, ...]

    def __call__(self, observation: Observation, generator: torch.Generator) -> Observation:
        """The observation with all effects."""
        for effect in self.effects:
            observation = effect(observation, generator)
        return observation


@dataclass(frozen=True, kw_only=True)
class Shift(Effect):
    """The lens lies somewhere near the middle: everything moves by whole pixels, noise excepted.

    What enters the frame is empty, so this comes before any noise.

    Parameters
    ----------
    pixels
        Largest shift along each axis; 6 is Ensai's box of 0.5".
    keep
        Share of the arcs' light that must stay in the frame.
    """

    pixels: int = 6
    keep: float = 0.98

    def applied(self, observation: Observation, generator: torch.Generator) -> Observation:
        """Move images, arcs and lens light."""
        arcs = observation.arcs
        shift = torch.zeros_like(observation.shift)
        enough = self.keep * arcs.sum((1, 2))
        rows = torch.arange(len(arcs), device=arcs.device)
        for _ in range(_MAX_TRIES):
            drawn = torch.randint(
                -self.pixels,
                self.pixels + 1,
                (len(rows), 2),
                generator=generator,
                device=generator.device,
            )
            kept = _light_within(arcs[rows], drawn) >= enough[rows]
            shift[rows[kept]] = drawn[kept]
            rows = rows[~kept]
            if len(rows) == 0:
                break
        names = ("image", "arcs", "lens_light")
        moved = _moved([getattr(observation, name) for name in names], shift)
        return replace(
            observation,
            **dict(zip(names, moved, strict=True)),
            shift=observation.shift + shift,
        )


@dataclass(frozen=True, kw_only=True)
class LensLightResidual(Effect):
    """What a subtraction of the lens light leaves: a fraction of it, of either sign.

    Parameters
    ----------
    rms
        Of the fraction.
    """

    rms: float = 0.01

    def applied(self, observation: Observation, generator: torch.Generator) -> Observation:
        """Add the residual."""
        fraction = self.rms * _normal(len(observation), generator)
        return replace(observation, image=observation.image + fraction * observation.lens_light)


@dataclass(frozen=True, kw_only=True)
class PSFBlur(Effect):
    """A Gaussian point spread function; afterwards the brightest pixel is one.

    Comes before any noise, for it leaves the noise as it is.

    Parameters
    ----------
    rms
        Of the Gaussian, in pixels.
    """

    rms: tuple[float, float] = (0.1, 2.0)
    probability: float = 0.8

    def applied(self, observation: Observation, generator: torch.Generator) -> Observation:
        """Blur the image, which is taken to go on beyond its edges as it is there."""
        image = observation.image
        rms = uniform(self.rms, len(image), generator).flatten()
        seen = blurred(image, rms)
        psf_rms = torch.hypot(observation.psf_rms, rms.to(image.dtype))
        return replace(observation, image=seen / peak(seen), psf_rms=psf_rms)


@dataclass(frozen=True, kw_only=True)
class PoissonNoise(Effect):
    """Noise of the photons of the arcs; afterwards the brightest pixel is one.

    Light below zero has no photons and stays.

    Parameters
    ----------
    counts
        Photons of a pixel of brightness one.
    """

    counts: tuple[float, float] = (50.0, 1000.0)
    probability: float = 0.8

    def applied(self, observation: Observation, generator: torch.Generator) -> Observation:
        """Draw photons."""
        image = observation.image
        counts = uniform(self.counts, len(image), generator).to(image.dtype)
        light = image.clamp(min=0.0)
        photons = torch.poisson(light * counts, generator=generator)
        noisy = photons / counts + (image - light)
        unit = peak(noisy)
        noise = torch.sqrt(observation.noise.square() + light / counts)
        return replace(observation, image=noisy / unit, noise=noise / unit)


@dataclass(frozen=True, kw_only=True)
class CosmicRays(Effect):
    """Tracks of cosmic rays that nobody found; they are in neither noise nor mask.

    Straight lines a pixel wide, of any direction; Ensai's library of real ones is lost.

    Parameters
    ----------
    number
        Of tracks in an image, whole numbers, both included.
    length
        Of a track in pixels, drawn uniformly in its logarithm.
    intensity
        Of the brightest track; others are as much as ten times fainter.
    """

    number: tuple[int, int] = (1, 8)
    length: tuple[float, float] = (1.0, 40.0)
    intensity: tuple[float, float] = (0.0, 0.5)
    probability: float = 0.8

    def applied(self, observation: Observation, generator: torch.Generator) -> Observation:
        """Add tracks."""
        image = observation.image
        n, n_tracks = len(image), self.number[1]

        def drawn() -> torch.Tensor:
            return torch.rand(n, n_tracks, 1, generator=generator, device=generator.device)

        size = torch.tensor(image.shape[1:], device=image.device)
        middle = torch.cat((drawn(), drawn()), -1) * size - 0.5
        angle = math.pi * drawn()
        shortest, longest = map(math.log, self.length)
        length = torch.exp(shortest + (longest - shortest) * drawn())
        brightness = 10.0 ** -drawn() * _exists(self.number, n, generator)[..., None]

        # Points half a pixel apart, each shared by the four pixels around it.
        n_points = 2 * math.ceil(self.length[1]) + 1
        along = 0.5 * (torch.arange(n_points, device=image.device) - (n_points - 1) / 2)
        points = torch.stack((torch.sin(angle), torch.cos(angle)), -1) * along[:, None]
        points = middle[:, :, None] + points
        brightness = brightness * (along.abs() <= 0.5 * length)
        corner = points.floor()
        share = points - corner
        tracks = torch.zeros_like(image)
        for offset in torch.cartesian_prod(*torch.arange(2, device=image.device).expand(2, 2)):
            weights = (offset * share + (1 - offset) * (1.0 - share)).prod(-1)
            tracks = _brightest(tracks, (corner + offset).long(), brightness * weights)
        intensity = uniform(self.intensity, n, generator)
        return replace(observation, image=image + intensity * tracks / peak(tracks))


@dataclass(frozen=True, kw_only=True)
class HotPixels(Effect):
    """Single bright pixels; they are in neither noise nor mask.

    Parameters
    ----------
    number
        In an image, whole numbers, both included.
    intensity
        Of each.
    """

    number: tuple[int, int] = (1, 20)
    intensity: tuple[float, float] = (0.0, 0.5)
    probability: float = 0.8

    def applied(self, observation: Observation, generator: torch.Generator) -> Observation:
        """Add pixels."""
        image = observation.image
        n, n_pixels = len(image), self.number[1]
        shape = (n, n_pixels, 2)
        place = torch.rand(shape, generator=generator, device=generator.device)
        place = (place * torch.tensor(image.shape[1:], device=image.device)).long()
        intensity = uniform(self.intensity, n * n_pixels, generator).view(n, n_pixels)
        intensity = intensity * _exists(self.number, n, generator)
        return replace(
            observation, image=image + _brightest(torch.zeros_like(image), place, intensity)
        )


@dataclass(frozen=True, kw_only=True)
class BackgroundNoise(Effect):
    """Gaussian noise of the sky and the detector: white, or correlated as drizzle leaves it.

    Drizzle (Fruchter & Hook 2002, PASP 114, 144) drops squares, "drops", on the pixels of the
    image. Where many exposures fall anywhere, the noise of the image has the correlation of white
    noise smoothed with the square of a drop and with that of a pixel (Casertano et al. 2000, AJ
    120, 2747): for drops of one pixel 1/4 with the next neighbour along an axis, and none beyond.
    Ensai's map of HST noise falls in amplitude, from low frequencies to the highest along an
    axis, to 0.45; drops of 1.2 pixels do so.

    Parameters
    ----------
    rms
        Of the noise.
    correlated
        Share of the images whose noise is correlated; the others' is white.
    drop
        Side of a drop in pixels of the image.
    """

    rms: tuple[float, float] = (0.01, 0.1)
    correlated: float = 0.75
    drop: tuple[float, float] = (1.0, 1.4)

    def applied(self, observation: Observation, generator: torch.Generator) -> Observation:
        """Add noise."""
        image = observation.image
        n = len(image)
        rms = uniform(self.rms, n, generator).to(image.dtype)
        drop = uniform(self.drop, n, generator).flatten()
        share = torch.rand(n, generator=generator, device=generator.device)
        noise = torch.randn(
            image.shape, generator=generator, device=generator.device, dtype=image.dtype
        )
        rows = torch.nonzero(share < self.correlated)[:, 0]
        noise[rows] = _drizzled(noise[rows], drop[rows], math.ceil(1.0 + self.drop[1]))
        return replace(
            observation,
            image=image + rms * noise,
            noise=torch.sqrt(observation.noise.square() + rms.square()),
        )


@dataclass(frozen=True, kw_only=True)
class Pixellation(Effect):
    """A coarser detector: light is averaged over its pixels, and spread evenly over them again.

    The noise is that of the averages of independent pixels. Ensai has this, and does not use it.

    Parameters
    ----------
    size
        Pixels a side of the coarser detector, whole numbers, both included; no more than the
        image has.
    """

    size: tuple[int, int] = (96, 192)

    def applied(self, observation: Observation, generator: torch.Generator) -> Observation:
        """Average image and noise."""
        image = observation.image
        if self.size[1] > min(image.shape[1:]):
            raise OptionError(
                f"Pixellation: {self.size[1]} pixels a side are more than the image has, "
                f"{tuple(image.shape[1:])}"
            )
        low, high = self.size
        size = torch.randint(
            low, high + 1, (len(image), 1, 1), generator=generator, device=generator.device
        ).to(image.dtype)
        rows, columns = (_averages(length, size, high) for length in image.shape[1:])
        variance = observation.noise.square()
        variance = rows.square() @ variance @ columns.square().mT
        return replace(observation, image=rows @ image @ columns.mT, noise=variance.sqrt())


@dataclass(frozen=True, kw_only=True)
class Normalisation(Effect):
    """An image is measured in units of its brightest pixel on the arcs, roughly known.

    Where the arcs are nowhere brighter than the threshold, the unit is the one of before.

    Parameters
    ----------
    threshold
        Pixels on the arcs are those where their light was above this.
    scatter
        Root mean square of the relative error of the unit.
    """

    threshold: float = 0.4
    scatter: float = 0.01

    def applied(self, observation: Observation, generator: torch.Generator) -> Observation:
        """Divide image and noise."""
        image = observation.image
        on_arcs = image.masked_fill(observation.arcs <= self.threshold, 0.0)
        factor = (1.0 + self.scatter * _normal(len(image), generator)) / peak(on_arcs)
        return replace(observation, image=image * factor, noise=observation.noise * factor.abs())


@dataclass(frozen=True, kw_only=True)
class ZeroPointBias(Effect):
    """A background that was not quite subtracted.

    Parameters
    ----------
    rms
        Of the background.
    """

    rms: float = 0.05

    def applied(self, observation: Observation, generator: torch.Generator) -> Observation:
        """Add the background."""
        bias = self.rms * _normal(len(observation), generator)
        return replace(observation, image=observation.image + bias)


@dataclass(frozen=True, kw_only=True)
class CircularMasks(Effect):
    """Discs without data, as over neighbours: the mask and the image are zero there.

    Put it last, so that nothing is added to what is masked.

    Parameters
    ----------
    number
        Of discs in an image, whole numbers, both included.
    radius
        In pixels; 5 is Ensai's 0.2".
    keep
        Share of the arcs' light that must stay unmasked.
    """

    number: tuple[int, int] = (1, 29)
    radius: float = 5.0
    keep: float = 0.75
    probability: float = 0.5

    def applied(self, observation: Observation, generator: torch.Generator) -> Observation:
        """Mask discs."""
        arcs = observation.arcs
        return masked(observation, self.keep, lambda rows: 1.0 - self._discs(arcs[rows], generator))

    def _discs(self, like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """One inside of discs and zero elsewhere, in the shape of ``like``."""
        n, n_discs = len(like), self.number[1]
        size = torch.tensor(like.shape[1:], device=like.device)
        shape = (n, n_discs, 1, 2)
        middle = torch.rand(shape, generator=generator, device=generator.device) * size - 0.5
        reach = math.ceil(self.radius)
        window = torch.arange(-reach, reach + 1, device=like.device)
        window = torch.cartesian_prod(window, window)
        pixels = middle.round().long() + window
        inside = (pixels - middle).square().sum(-1) <= self.radius**2
        values = inside * _exists(self.number, n, generator)[..., None]
        return _brightest(torch.zeros_like(like), pixels, values)


def masked(
    observation: Observation, keep: float, draw: Callable[[torch.Tensor], torch.Tensor]
) -> Observation:
    """The observation under masks that leave a share of the arcs' light; none where there is none.

    Parameters
    ----------
    observation
        What is masked: mask and image are zero there.
    keep
        Share of the arcs' light that must stay.
    draw
        Masks, shape (m, y, x), of the images at m rows.
    """
    arcs = observation.arcs
    mask = observation.mask.clone()
    enough = keep * arcs.sum((1, 2))
    rows = torch.arange(len(arcs), device=arcs.device)
    for _ in range(_MAX_TRIES):
        drawn = draw(rows)
        kept = (drawn * arcs[rows]).sum((1, 2)) >= enough[rows]
        mask[rows[kept]] *= drawn[kept]
        rows = rows[~kept]
        if len(rows) == 0:
            break
    return replace(observation, mask=mask, image=observation.image * mask)


def blurred(image: torch.Tensor, rms: torch.Tensor) -> torch.Tensor:
    """Images, shape (n, y, x), blurred by Gaussians of ``rms`` pixels, shape (n,).

    They are taken to go on beyond their edges as they are there.
    """
    rms = rms[:, None].clamp(min=_SHARPEST)
    radius = math.ceil(_TRUNCATE * float(rms.max()))
    x = torch.arange(-radius, radius + 1, device=image.device)
    # Each is cut by its own width: what an image becomes does not depend on the others.
    kernels = torch.exp(-0.5 * (x / rms).square()) * (x.abs() <= _TRUNCATE * rms)
    kernels = (kernels / kernels.sum(1, keepdim=True)).to(image.dtype)
    # Products of matrices: faster than a convolution with a kernel for each image.
    rows, columns = (_smoothing(kernels, length) for length in image.shape[1:])
    return rows @ image @ columns.mT


def _check_range(field: str, name: str, low: float, high: float) -> None:
    if not 0.0 <= low <= high < math.inf:
        raise OptionError(f"{name} must be at least 0, finite, low to high, not {low} to {high}")
    if field in _SHARES and high > 1.0:
        raise OptionError(f"{name} is a share and cannot be above 1, not {high}")
    if field in _POSITIVE and low == 0.0:
        raise OptionError(f"{name} must be above 0")
    if field in _WHOLE and not (isinstance(low, int) and isinstance(high, int)):
        raise OptionError(f"{name} must be whole, not {low} to {high}")


def uniform(bounds: tuple[float, float], n: int, generator: torch.Generator) -> torch.Tensor:
    """Values for n images, shape (n, 1, 1)."""
    low, high = bounds
    return low + (high - low) * torch.rand(n, 1, 1, generator=generator, device=generator.device)


def _normal(n: int, generator: torch.Generator) -> torch.Tensor:
    """Values for n images, shape (n, 1, 1)."""
    return torch.randn(n, 1, 1, generator=generator, device=generator.device)


def _exists(number: tuple[int, int], n: int, generator: torch.Generator) -> torch.Tensor:
    """Which of the most that there can be are there, shape (n, number[1])."""
    low, high = number
    drawn = torch.randint(low, high + 1, (n, 1), generator=generator, device=generator.device)
    return torch.arange(high, device=generator.device) < drawn


def peak(image: torch.Tensor) -> torch.Tensor:
    """Brightest pixels, shape (n, 1, 1); one where none is above zero."""
    brightest = image.amax((1, 2), keepdim=True)
    return torch.where(brightest > 0.0, brightest, 1.0)


def _places(length: int, step: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The pixel a step from each pixel of an axis, (n, length), and whether it is in the frame."""
    place = torch.arange(length, device=step.device) + step[:, None]
    return place.clamp(0, length - 1), (place >= 0) & (place < length)


def _smoothing(kernels: torch.Tensor, length: int) -> torch.Tensor:
    """Matrices that smooth an axis, which goes on beyond its ends as it is there, (n, y, y)."""
    radius = kernels.shape[1] // 2
    places = torch.arange(-radius, length + radius, device=kernels.device).clamp(0, length - 1)
    pixels = torch.eye(length, dtype=kernels.dtype, device=kernels.device)[places]
    return torch.einsum("yjk,nk->nyj", pixels.unfold(0, 2 * radius + 1, 1), kernels)


def _light_within(image: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Light that stays in the frame as it moves by a shift towards +y and +x, shape (n,)."""
    _, rows = _places(image.shape[1], -shift[:, 0])
    _, columns = _places(image.shape[2], shift[:, 1])
    return torch.einsum("ny,nyx,nx->n", rows.to(image.dtype), image, columns.to(image.dtype))


def _moved(images: list[torch.Tensor], shift: torch.Tensor) -> list[torch.Tensor]:
    """Images moved by whole pixels towards +y and +x, shape (n, 2), with zeros behind them."""
    _, n_rows, n_columns = images[0].shape
    rows, has_rows = _places(n_rows, shift[:, 0])
    columns, has_columns = _places(n_columns, -shift[:, 1])
    origin = (rows[:, :, None] * n_columns + columns[:, None, :]).flatten(1)
    inside = has_rows[:, :, None] & has_columns[:, None, :]
    return [
        torch.where(inside, image.flatten(1).gather(1, origin).view_as(image), 0.0)
        for image in images
    ]


def _brightest(image: torch.Tensor, pixels: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Images with each pixel as bright as the brightest of what falls on it.

    The largest value, unlike a sum, does not depend on the order in which a GPU takes them.

    Parameters
    ----------
    image
        Shape (n, y, x).
    pixels
        Rows and columns, shape (n, ..., 2); those outside of the image are left out.
    values
        Shape (n, ...).
    """
    n, n_rows, n_columns = image.shape
    row, column = pixels.reshape(n, -1, 2).unbind(-1)
    inside = (row >= 0) & (row < n_rows) & (column >= 0) & (column < n_columns)
    flat = row.clamp(0, n_rows - 1) * n_columns + column.clamp(0, n_columns - 1)
    values = (values.reshape(n, -1) * inside).to(image.dtype)
    return image.flatten(1).scatter_reduce(1, flat, values, "amax").view_as(image)


def _drizzled(white: torch.Tensor, drop: torch.Tensor, n_lags: int) -> torch.Tensor:
    """White noise, shape (n, y, x), with the power spectrum of noise drizzled by ``drop``, (n,)."""
    *_, n_rows, n_columns = white.shape
    lags = torch.arange(n_lags, dtype=torch.double, device=white.device)
    correlation = _drizzled_correlation(lags, drop.double().clamp(min=_SHARPEST))
    rows = _power(torch.fft.fftfreq(n_rows, device=white.device), correlation)
    columns = _power(torch.fft.rfftfreq(n_columns, device=white.device), correlation)
    amplitude = torch.sqrt(rows[:, :, None] * columns[:, None, :]).to(white.dtype)
    # Real noise has a Hermitian transform, and stays real under a real, even amplitude.
    return torch.fft.irfft2(torch.fft.rfft2(white) * amplitude, s=(n_rows, n_columns))


def _drizzled_correlation(lags: torch.Tensor, drop: torch.Tensor) -> torch.Tensor:
    """Correlation of pixels whole ``lags`` apart along an axis, shape (n, lags).

    The box of a pixel convolved with itself and with the box of a drop convolved with itself: the
    second differences, by one and by the drop, of abs(lag)^3.
    """
    correlation = torch.zeros(len(drop), len(lags), dtype=lags.dtype, device=lags.device)
    for by_pixel, weight in ((-1.0, 1.0), (0.0, -2.0), (1.0, 1.0)):
        for by_drop, factor in ((-1.0, 1.0), (0.0, -2.0), (1.0, 1.0)):
            shifted = lags + by_pixel + by_drop * drop[:, None]
            correlation += weight * factor * shifted.abs() ** 3
    return correlation / correlation[:, :1]


def _power(frequency: torch.Tensor, correlation: torch.Tensor) -> torch.Tensor:
    """Power spectrum, shape (n, frequencies), with a mean of one over all frequencies."""
    lags = torch.arange(correlation.shape[1], device=frequency.device)
    waves = torch.cos(2.0 * math.pi * lags[:, None] * frequency).to(correlation.dtype)
    waves[1:] *= 2.0
    return (correlation @ waves).clamp(min=0.0)


def _averages(length: int, size: torch.Tensor, most: int) -> torch.Tensor:
    """Matrices, shape (n, length, length), that average pixels over ``size`` coarser ones."""
    edges = torch.arange(length, dtype=size.dtype, device=size.device)
    step = length / size
    coarse = torch.arange(most, dtype=size.dtype, device=size.device)[:, None] * step
    overlap = torch.minimum(coarse + step, edges + 1.0) - torch.maximum(coarse, edges)
    overlap = overlap.clamp(min=0.0)
    return overlap.mT @ overlap / step


ENSAI_EFFECTS = Sequence(
    (
        Shift(),
        LensLightResidual(),
        PSFBlur(),
        PoissonNoise(),
        CosmicRays(),
        HotPixels(),
        BackgroundNoise(),
        Normalisation(),
        ZeroPointBias(),
        CircularMasks(),
    )
)
