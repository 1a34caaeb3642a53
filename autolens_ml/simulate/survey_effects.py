"""What images of surveys bring that those of Hezaveh et al. 2017 do not have, as effects.

There the light of the lens leaves residuals alone, and the whole frame is seen. Real data keep the
photon noise of the light that was subtracted, which makes a noise map rise towards the lens; and
a modeller masks all outside of a circle, or has a smaller image. They are drawn after
``ENSAI_EFFECTS``:

>>> generator = torch.Generator().manual_seed(1)
>>> observed = ENSAI_EFFECTS(Observation.of(torch.rand(8, 192, 192)), generator)
>>> observed = SURVEY_EFFECTS(observed, generator)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from autolens_ml.exceptions import OptionError
from autolens_ml.simulate.effects import (
    Effect,
    Observation,
    Sequence,
    blurred,
    masked,
    peak,
    uniform,
)

__all__ = ["SURVEY_EFFECTS", "Aperture", "LensLightNoise"]


@dataclass(frozen=True, kw_only=True)
class LensLightNoise(Effect):
    """Noise of the photons of the lens light that was subtracted; the noise map has it too.

    Comes after all blurring and after the background noise, without which there is none.

    Parameters
    ----------
    ratio
        Noise at the brightest pixel of the lens, over that of a pixel without light, if arcs had
        no photons: at least 1, drawn uniformly in its logarithm.

    Raises
    ------
    OptionError
        When a value is out of its range.
    """

    ratio: tuple[float, float] = (1.0, 8.0)
    probability: float = 0.7

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ratio[0] < 1.0:
            raise OptionError(f"LensLightNoise: ratio must be at least 1, not {self.ratio[0]}")

    def applied(self, observation: Observation, generator: torch.Generator) -> Observation:
        """Add noise to the image and to the map."""
        image, noise = observation.image, observation.noise
        light = blurred(observation.lens_light, observation.psf_rms).clamp(min=0.0)
        logs = (math.log(self.ratio[0]), math.log(self.ratio[1]))
        ratio = uniform(logs, len(image), generator).exp().to(image.dtype)
        empty = noise.amin((1, 2), keepdim=True)
        variance = (ratio.square() - 1.0) * empty.square() * light / peak(light)
        drawn = torch.randn(
            image.shape, generator=generator, device=generator.device, dtype=image.dtype
        )
        return replace(
            observation,
            image=image + observation.mask * variance.sqrt() * drawn,
            noise=torch.sqrt(noise.square() + variance),
        )


@dataclass(frozen=True, kw_only=True)
class Aperture(Effect):
    """All outside of a circle or square about the middle is masked: mask and image are zero there.

    Parameters
    ----------
    radius
        Of the circle, or half the side of the square, in pixels.
    square
        Share of the images that are cut to squares.
    keep
        Share of the arcs' light that must stay.
    """

    radius: tuple[float, float] = (55.0, 120.0)
    square: float = 0.5
    keep: float = 0.98
    probability: float = 0.5

    def applied(self, observation: Observation, generator: torch.Generator) -> Observation:
        """Mask the outside."""
        arcs = observation.arcs
        y, x = ((torch.arange(n, device=arcs.device) - 0.5 * (n - 1)).abs() for n in arcs.shape[1:])
        y, x = y[:, None].expand(arcs.shape[1:]), x.expand(arcs.shape[1:])
        distances = torch.stack((torch.hypot(y, x), torch.maximum(y, x)))
        share = torch.rand(len(arcs), generator=generator, device=generator.device)
        shape = (share < self.square).long()

        def inside(rows: torch.Tensor) -> torch.Tensor:
            radius = uniform(self.radius, len(rows), generator)
            return (distances[shape[rows]] <= radius).to(arcs.dtype)

        return masked(observation, self.keep, inside)


SURVEY_EFFECTS = Sequence((LensLightNoise(), Aperture()))
