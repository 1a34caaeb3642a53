"""The light of a galaxy as an autoencoder has learned galaxies to be."""

from types import ModuleType
from typing import Any, ClassVar

import autoarray as aa
import numpy as np
from autoarray import validate
from autogalaxy import exc
from autogalaxy.profiles.light.abstract import LightProfile

from autolens_ml.profiles.light.pixel import PixelLight
from autolens_ml.profiles.neural_map import FREE_LATENTS, NeuralMap

__all__ = ["NeuralSource"]


class NeuralSource(NeuralMap, LightProfile):
    """A galaxy whose surface brightness is decoded from a few latents with N(0, 1) priors.

    The decoder was trained on galaxies, so under the prior it makes galaxies and little else: what
    data leave open, it fills with what galaxies look like. It is a
    :class:`~autolens_ml.profiles.light.pixel.PixelLight` whose map is free: above zero inside a
    square, zero outside. ``af.Model``, ``aml.lp.NeuralSource.model("NAME")``::

        source = af.Model(al.Galaxy, redshift=1.0, light=aml.lp.NeuralSource.model("source-vae"))
    """

    _quantity: ClassVar[str] = "surface brightness"

    def __init__(
        self,
        network: str,
        centre: tuple[float, float] = (0.0, 0.0),
        position_angle: float = 0.0,
        intensity: float = 1.0,
        scale: float = 1.0,
        latents: tuple[float, ...] = FREE_LATENTS,
        sha256: str | None = None,
    ) -> None:
        """
        Parameters
        ----------
        network
            Name of a shipped network, or a path of a stored one; its task is ``autoencoder``, its
            maps are of surface brightness.
        centre
            The (y,x) coordinates of the middle of the map [arcsec].
        position_angle
            Angle by which the map is turned counter-clockwise about `centre` [deg]; it repeats
            after 360.
        intensity
            Mean surface brightness in the disc of the network's ``disc_radius`` around the middle,
            which for the networks that ship is that of the half-light radius of their galaxies.
        scale
            Side of the map [arcsec], > 0. Surface brightness stays, so the flux goes with the
            square.
        latents
            What the decoder makes the map of; by default the origin, the most typical galaxy.
        sha256
            Of the weights of `network` that this profile was made for; by default any.

        Raises
        ------
        NetworkError
            If there is no such network, it is of something else, or its weights have another
            sha256.
        ModelParameterException
            If the network has another number of latents, or `scale` is a number that is not above
            zero and finite.
        """
        super().__init__(centre=centre, ell_comps=(0.0, 0.0), intensity=intensity)
        validate.validate_positive_finite(
            value=scale,
            name="scale",
            exc_type=exc.ModelParameterException,
            extra="Turn a map with position_angle, not with a negative size",
        )
        self._set_network(network, latents, sha256)
        self.position_angle = position_angle
        self.scale = scale

    def pixels(self, xp: ModuleType = np) -> PixelLight:
        """The decoded galaxy as a map of its own, which needs the network no more."""
        return PixelLight(
            values=self._map(xp),
            pixel_scale=1.0 / self.decoder.size,
            centre=self.centre,
            position_angle=self.position_angle,
            intensity=self._intensity,
            scale=self.scale,
        )

    def image_2d_from(
        self,
        grid: aa.type.Grid2DLike,
        xp: ModuleType = np,
        operated_only: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """Return the surface brightness, (N,), at (y,x) positions (N, 2)."""
        return self.pixels(xp).image_2d_from(
            grid=grid, xp=xp, operated_only=operated_only, **kwargs
        )
