"""The mass of a lens as an autoencoder has learned lenses to be."""

from types import ModuleType
from typing import Any, ClassVar

import autoarray as aa
import numpy as np
from autoarray import validate
from autogalaxy import exc
from autogalaxy.profiles.mass.abstract.abstract import MassProfile

from autolens_ml.profiles.mass.pixel import PixelConvergence
from autolens_ml.profiles.neural_map import FREE_LATENTS, NeuralMap

__all__ = ["NeuralConvergence"]


class NeuralConvergence(NeuralMap, MassProfile):
    """A lens whose convergence is decoded from a few latents with N(0, 1) priors.

    It is a :class:`~autolens_ml.profiles.mass.pixel.PixelConvergence` whose map is free: above zero
    inside a square, zero outside, with a mean of one inside the Einstein radius. The lensing of
    what lies beyond the square is not there: let an external shear make up for it. Sizes go with
    the Einstein radius, convergence does not::

        mass = aml.mp.NeuralConvergence.model("convergence-vae")
        lens = af.Model(al.Galaxy, redshift=0.5, mass=mass, shear=al.mp.ExternalShear)
    """

    _quantity: ClassVar[str] = "convergence"

    def __init__(
        self,
        network: str,
        centre: tuple[float, float] = (0.0, 0.0),
        position_angle: float = 0.0,
        einstein_radius: float = 1.0,
        latents: tuple[float, ...] = FREE_LATENTS,
        sha256: str | None = None,
    ) -> None:
        """
        Parameters
        ----------
        network
            Name of a shipped network, or a path of a stored one; its task is ``autoencoder``, its
            maps are of convergence.
        centre
            The (y,x) coordinates of the middle of the map [arcsec].
        position_angle
            Angle by which the map is turned counter-clockwise about `centre` [deg]; it repeats
            after 360.
        einstein_radius
            Radius of the circle around `centre` in which the mean convergence is 1 [arcsec], > 0.
            The side of the map is this times 2 over the network's ``disc_radius``.
        latents
            What the decoder makes the map of; by default the origin, the most typical lens.
        sha256
            Of the weights of `network` that this profile was made for; by default any.

        Raises
        ------
        NetworkError
            If there is no such network, it is of something else, or its weights have another
            sha256.
        ModelParameterException
            If the network has another number of latents, or `einstein_radius` is a number that is
            not above zero and finite.
        """
        super().__init__(centre=centre, ell_comps=(0.0, 0.0))
        validate.validate_positive_finite(
            value=einstein_radius,
            name="einstein_radius",
            exc_type=exc.ModelParameterException,
        )
        self._set_network(network, latents, sha256)
        self.position_angle = position_angle
        self.einstein_radius = einstein_radius

    def pixels(self, xp: ModuleType = np) -> PixelConvergence:
        """The decoded lens as a map of its own, which needs the network no more."""
        decoder = self.decoder
        return PixelConvergence(
            values=self._map(xp),
            pixel_scale=2.0 / (decoder.disc_radius * decoder.size),
            centre=self.centre,
            position_angle=self.position_angle,
            scale=self.einstein_radius,
        )

    def deflections_yx_2d_from(
        self, grid: aa.type.Grid2DLike, xp: ModuleType = np, **kwargs: Any
    ) -> Any:
        """Return the (y,x) deflection angles [arcsec], (N, 2), at (y,x) positions (N, 2)."""
        return self.pixels(xp).deflections_yx_2d_from(grid=grid, xp=xp, **kwargs)

    def convergence_2d_from(
        self, grid: aa.type.Grid2DLike, xp: ModuleType = np, **kwargs: Any
    ) -> Any:
        """Return the convergence, (N,), at (y,x) positions (N, 2)."""
        return self.pixels(xp).convergence_2d_from(grid=grid, xp=xp, **kwargs)

    def potential_2d_from(
        self, grid: aa.type.Grid2DLike, xp: ModuleType = np, **kwargs: Any
    ) -> Any:
        """Return the lensing potential [arcsec^2], (N,), at (y,x) positions (N, 2)."""
        return self.pixels(xp).potential_2d_from(grid=grid, xp=xp, **kwargs)

    def convergence_func(self, grid_radius: Any, xp: ModuleType = np) -> Any:
        """Return the convergence averaged over circles around the centre.

        Parameters
        ----------
        grid_radius
            Radii of the circles [arcsec], any shape. Numbers, not tracers.
        """
        return self.pixels().convergence_func(grid_radius=grid_radius)

    def mass_angular_within_circle_from(self, radius: float) -> float:
        """Return the integral of the convergence in a circle around the centre [arcsec^2]."""
        return self.pixels().mass_angular_within_circle_from(radius=radius)

    @property
    def average_convergence_of_1_radius(self) -> float:
        """Radius of the circle around the centre whose mean convergence is 1 [arcsec]."""
        return self.pixels().average_convergence_of_1_radius
