"""What maps of light and maps of mass share: where the pixels are on the sky."""

from types import ModuleType
from typing import Any

import numpy as np
from autoarray import validate
from autogalaxy import exc
from autogalaxy.profiles.geometry_profiles import GeometryProfile

__all__ = ["PixelMap"]


class PixelMap:
    """A map of fixed values that is moved, turned and scaled; a base beside that of PyAutoLens.

    Attributes
    ----------
    values : ndarray
        The map, of shape (rows, columns); row 0 is the top (+y) and column 0 the left (-x).
    pixel_scale : float
        Side of a pixel at scale 1 [arcsec].
    position_angle : float
        Angle by which the map is turned counter-clockwise about its centre [deg].
    scale : float
        What lengths on the map are multiplied by.
    """

    def _set_map(
        self,
        values: np.ndarray,
        pixel_scale: float,
        position_angle: float,
        scale: float,
        quantity: str,
    ) -> None:
        """Set the attributes; `quantity` is what the map is called in the error message.

        Raises
        ------
        ModelParameterException
            If `values` is not two-dimensional, or `pixel_scale` or `scale` is a number that is not
            above zero and finite.
        """
        if np.ndim(values) != 2:
            raise exc.ModelParameterException(
                f"values must be a two-dimensional array, the map of the {quantity}; got "
                f"{np.ndim(values)} dimensions. Of an al.Array2D, give array.native.array"
            )
        for name, value in (("pixel_scale", pixel_scale), ("scale", scale)):
            validate.validate_positive_finite(
                value=value,
                name=name,
                exc_type=exc.ModelParameterException,
                extra="Turn a map with position_angle, not with a negative size",
            )
        self.values = values
        self.pixel_scale = pixel_scale
        self.position_angle = position_angle
        self.scale = scale

    def __eq__(self, other: object) -> bool:
        return (
            type(self) is type(other)
            and vars(self).keys() == vars(other).keys()
            and all(np.array_equal(value, vars(other)[name]) for name, value in vars(self).items())
        )

    # Defining equality alone would make the profile unhashable.
    __hash__ = GeometryProfile.__hash__

    def angle(self, xp: ModuleType = np) -> float:
        """The angle [deg] by which PyAutoLens's geometry rotates into the frame of the map."""
        return self.position_angle

    @property
    def _pixel(self) -> Any:
        """Side of a pixel on the sky [arcsec]."""
        return self.scale * self.pixel_scale

    def _rows_and_columns(self, yx: Any) -> tuple[Any, Any]:
        """Rows and columns, (N,) each, of positions (N, 2) [arcsec] in the frame of the map."""
        rows, columns = np.shape(self.values)
        row = 0.5 * (rows - 1) - yx[:, 0] / self._pixel
        return row, 0.5 * (columns - 1) + yx[:, 1] / self._pixel
