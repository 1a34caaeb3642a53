"""Arcs as Hezaveh et al. 2017 (arXiv:1708.08842) simulate them: real galaxies behind ellipsoids.

A lens is a singular isothermal ellipsoid without shear, seen with its light taken away. Half of the
sources lie inside the tangential caustic, moved outwards by 0.15"; the others are drawn from a
Gaussian about the lens, within 0.7 times the cut of the lens (the line within which a source has
two images or more). What is magnified less than twice, or has more than a hundredth of its light
outside of the frame, is no lens of the set.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import autofit as af
import autolens as al
import jax
import jax.numpy as jnp
import numpy as np

from autolens_ml.exceptions import OptionError
from autolens_ml.profiles.light import PixelLight
from autolens_ml.simulate.ensai_conventions import ISOTHERMAL_PARAMETERS, isothermal_from_ensai
from autolens_ml.simulate.forward import CHUNK, ForwardModel
from autolens_ml.simulate.instrument import Instrument
from autolens_ml.simulate.sources import WIDTH, StampLibrary

__all__ = ["ArcPopulation", "Arcs", "caustics_of", "lens_lights"]

# Ranges of Ensai's parameters: Einstein radius, 1 - q, and the centre along each axis [arcsec].
_EINSTEIN_RADIUS = (0.1, 3.0)
_ELLIPTICITY = (0.0, 0.9)
_CENTRE = 0.05
# Radius at which Ensai's sources fade out at a scale of one [arcsec], and their scales.
_TAPER_RADIUS = 0.6
_SCALE = (0.2, 1.0)
# The half-light radius of what fades out there is this many times smaller.
_STAMP_RADIUS = 2.5
# Sources: share inside the caustic, how far that is moved out [arcsec], and the others' place.
_INSIDE, _INFLATED = 0.5, 0.15
_WITHIN_CUT, _GAUSSIAN = 0.7, 0.2
_MIN_MAGNIFICATION = 2.0
_MAX_OUTSIDE = 0.01
# Points along a caustic, and the radius at which the cut is evaluated [Einstein radii].
_N_POINTS = 64
_NEAR = 1e-4
# The frame three pixels of which are one here, and 1.6 times of it.
_COARSE = 3
_WIDE = 1.6
_MAX_TRIES = 200
# Ranges of lens light: effective radius [arcsec], index, components of the ellipticity.
_LIGHT_RADIUS, _LIGHT_INDEX, _LIGHT_ELL_COMPS = (0.3, 2.0), (2.0, 5.0), 0.3


@dataclass(frozen=True)
class Arcs:
    """Images of arcs, without lens light, noise or PSF.

    Attributes
    ----------
    images : ndarray
        Brightest pixel 1, shape (n, y, x), row 0 at +y.
    parameters : ndarray
        Of ``al.mp.Isothermal``, in the order of ``ISOTHERMAL_PARAMETERS``, shape (n, 5).
    magnification : ndarray
        Light of the arcs over light of the source, shape (n,).
    """

    images: np.ndarray
    parameters: np.ndarray
    magnification: np.ndarray

    def __len__(self) -> int:
        return len(self.images)


class ArcPopulation:
    """Ensai's lenses: five parameters drawn as there, behind them galaxies of a library.

    Parameters
    ----------
    galaxies
        The sources.
    size
        Pixels a side, a multiple of three.
    pixel_scale
        arcsec per pixel; the frame should hold Einstein radii of 3".

    Raises
    ------
    OptionError
        When the size is no multiple of three.
    """

    def __init__(self, galaxies: StampLibrary, size: int = 192, pixel_scale: float = 0.04) -> None:
        if size < _COARSE or size % _COARSE:
            raise OptionError(f"arcs need images of 3, 6, 9, ... pixels a side, not {size}")
        self.galaxies = galaxies
        self.size = size
        self.pixel_scale = pixel_scale

    @staticmethod
    def model() -> af.Collection:
        """The lens with priors that hold all of the population, as ``af.Model``.

        They are wider than it: its ellipticities fill a disc, and its Einstein radii, in
        PyAutoLens's sense, are larger where they are large.
        """
        corners = [(r, e, 0.0, 0.0, 0.0) for r in _EINSTEIN_RADIUS for e in _ELLIPTICITY]
        _, _, _, ell_comps, radii = isothermal_from_ensai(np.array(corners)).T
        widest, largest = float(np.abs(ell_comps).max()), float(radii.max())
        mass = af.Model(al.mp.Isothermal)
        mass.centre.centre_0, mass.centre.centre_1 = _symmetric(0.4)
        mass.ell_comps.ell_comps_0, mass.ell_comps.ell_comps_1 = _symmetric(1.01 * widest)
        mass.einstein_radius = af.UniformPrior(0.05, 1.01 * largest)
        lens = af.Model(al.Galaxy, redshift=0.5, mass=mass)
        return af.Collection(galaxies=af.Collection(lens=lens))

    def batches(self, n: int, seed: int, start: int = 0) -> Iterator[Arcs]:
        """Arcs ``start``, a multiple of ``CHUNK``, to ``n``, ``CHUNK`` at a time, the last cut.

        Arc i depends on the seed and on i alone.

        Raises
        ------
        OptionError
            When hardly any draw is a lens of the set.
        """
        for first in range(start, n, CHUNK):
            rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(first // CHUNK,)))
            arcs = self._chunk(rng)
            last = min(CHUNK, n - first)
            yield Arcs(arcs.images[:last], arcs.parameters[:last], arcs.magnification[:last])

    def _chunk(self, rng: np.random.Generator) -> Arcs:
        kept: list[tuple[np.ndarray, ...]] = []
        n_kept = 0
        for _ in range(_MAX_TRIES):
            lenses, sources, stamps = self._drawn(CHUNK, rng)
            vectors = np.concatenate((lenses, sources), axis=1)
            light = self._lensed(self._wide, vectors, stamps)
            edge = (light.shape[-1] - self.size // _COARSE) // 2
            frame = light[:, edge:-edge, edge:-edge].sum((1, 2))
            total = light.sum((1, 2))
            pixel = (_COARSE * self.pixel_scale) ** 2
            unlensed = self.galaxies.stamps[stamps].sum((1, 2)) * sources[:, 3] ** 2
            magnification = total * pixel / unlensed
            inside = frame >= (1.0 - _MAX_OUTSIDE) * total
            rows = np.flatnonzero(inside & (magnification >= _MIN_MAGNIFICATION))
            kept.append((vectors[rows], stamps[rows], magnification[rows]))
            n_kept += len(rows)
            if n_kept >= CHUNK:
                break
        else:
            raise OptionError(
                f"only {n_kept} of {_MAX_TRIES * CHUNK} lenses have their arcs in the frame of "
                f'{self.size * self.pixel_scale:g}": make it larger'
            )
        vectors, stamps, magnification = (
            np.concatenate(parts)[:CHUNK] for parts in zip(*kept, strict=True)
        )
        images = self._lensed(self._fine, vectors, stamps)
        # Where there is no light, Fourier transforms leave a little of either sign.
        images = np.maximum(images, 0.0) / images.max((1, 2), keepdims=True)
        return Arcs(images, vectors[:, : len(ISOTHERMAL_PARAMETERS)], magnification)

    def _drawn(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Lenses (n, 5); sources (n, 4): centre, angle and pixel [arcsec]; numbers of stamps."""
        e, angle = rng.uniform(*_ELLIPTICITY, size=n), rng.uniform(0.0, 2.0 * np.pi, size=n)
        ensai = np.stack(
            (
                rng.uniform(*_EINSTEIN_RADIUS, size=n),
                e * np.cos(angle),
                e * np.sin(angle),
                *rng.uniform(-_CENTRE, _CENTRE, size=(2, n)),
            ),
            axis=1,
        )
        lenses = isothermal_from_ensai(ensai)
        stamps = self.galaxies.sample(n, rng)
        radius = rng.uniform(*_SCALE, size=n) * _TAPER_RADIUS
        pixels = radius * WIDTH / (_STAMP_RADIUS * self.galaxies.size)
        sources = np.column_stack(
            (_source_centres(lenses, rng), rng.uniform(0.0, 360.0, size=n), pixels)
        )
        return lenses, sources, stamps

    def _lensed(self, forward: ForwardModel, vectors: np.ndarray, stamps: np.ndarray) -> np.ndarray:
        """Light of the sources, shape (n, y, x); a kernel of one pixel is no PSF."""
        maps, kernels = self.galaxies.stamps[stamps][:, None], np.ones((len(vectors), 1, 1))
        return forward.planes_from(vectors, kernels, maps)[:, -1]

    @cached_property
    def _fine(self) -> ForwardModel:
        return self._forward(self.size, self.pixel_scale)

    @cached_property
    def _wide(self) -> ForwardModel:
        inner = self.size // _COARSE
        margin = int(np.ceil(0.5 * (_WIDE - 1.0) * inner))
        return self._forward(inner + 2 * margin, _COARSE * self.pixel_scale)

    def _forward(self, size: int, pixel_scale: float) -> ForwardModel:
        """Of parameters in the order of `_drawn`, without a PSF."""
        instrument = Instrument(
            name="arcs",
            shape=(size, size),
            pixel_scale=pixel_scale,
            psf_fwhm=(pixel_scale, pixel_scale),
            psf_shape=(1, 1),
            exposure_time=(1.0, 1.0),
            background_sky_level=1.0,
        )
        # The parameters of a model are in the order in which their priors were made.
        model = self.model()
        source = af.Model(
            PixelLight, values=self.galaxies.stamps[0].astype(float), pixel_scale=1.0, intensity=1.0
        )
        source.centre.centre_0, source.centre.centre_1 = _symmetric(9.0)
        source.position_angle = af.UniformPrior(0.0, 360.0)
        source.scale = af.UniformPrior(1e-4, 1.0)
        model.galaxies.source = af.Model(al.Galaxy, redshift=2.0, bulge=source)
        return ForwardModel(model, instrument, [("galaxies", "source", "bulge")])


def _symmetric(limit: float) -> list[af.UniformPrior]:
    return [af.UniformPrior(-limit, limit) for _ in range(2)]


def caustics_of(lenses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The tangential caustic and the cut of isothermal ellipsoids.

    The tangential critical curve is where the convergence is 1/2; the cut is what the limit of no
    distance from the centre is mapped to (Kormann, Schneider & Bartelmann 1994, A&A 284, 285).

    Parameters
    ----------
    lenses
        Of ``al.mp.Isothermal``, in the order of ``ISOTHERMAL_PARAMETERS``, shape (n, 5).

    Returns
    -------
    Both curves in the source plane, shape (n, 64, 2), (y, x) in arcsec.
    """
    y, x, ell_y, ell_x, radius = np.moveaxis(lenses[:, None], -1, 0)
    norm = np.hypot(ell_y, ell_x)
    q, major = (1.0 - norm) / (1.0 + norm), 0.5 * np.arctan2(ell_y, ell_x)
    t = np.linspace(0.0, 2.0 * np.pi, _N_POINTS, endpoint=False)
    # The half axes of the curve have the mean `einstein_radius`.
    along, across = (radius * 2.0 / (1.0 + q)) * (np.stack((np.cos(t), np.sin(t)))[:, None])
    across = across * q
    points = np.stack(
        (
            y + along * np.sin(major) + across * np.cos(major),
            x + along * np.cos(major) - across * np.sin(major),
        ),
        axis=-1,
    )
    near = np.stack((y + _NEAR * radius * np.sin(t), x + _NEAR * radius * np.cos(t)), axis=-1)
    with jax.enable_x64(True):
        curve, cut = (p - np.asarray(_deflections(lenses, p)) for p in (points, near))
    return curve, cut


@jax.jit
@jax.vmap
def _deflections(lens: jax.Array, points: jax.Array) -> jax.Array:
    y, x, ell_y, ell_x, radius = lens
    mass = al.mp.Isothermal(centre=(y, x), ell_comps=(ell_y, ell_x), einstein_radius=radius)
    deflections = mass.deflections_yx_2d_from(grid=al.Grid2DIrregular(points, xp=jnp), xp=jnp)
    return getattr(deflections, "array", deflections)


def _source_centres(lenses: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Centres (y, x), shape (n, 2), in arcsec."""
    curves = [_polar(curve - lenses[:, None, :2]) for curve in caustics_of(lenses)]
    inside = rng.random(len(lenses)) < _INSIDE
    offsets = np.empty((len(lenses), 2))
    todo = np.arange(len(lenses))
    while len(todo):
        uniform = inside[todo]
        caustic, cut = ([_at(curve, i) for i in todo] for curve in curves)
        largest = np.array([radii.max() for _, radii in caustic]) + _INFLATED
        widest = np.array([radii.max() for _, radii in cut])
        angle = rng.uniform(0.0, 2.0 * np.pi, size=len(todo))
        # Uniform in a disc, or the radius of a round Gaussian whose rms is a share of the extent.
        radius = np.where(
            uniform,
            largest * np.sqrt(rng.random(len(todo))),
            2.0 * _GAUSSIAN * widest * np.sqrt(rng.chisquare(2, size=len(todo))),
        )
        limit = np.array(
            [
                np.interp(a, *curve, period=2.0 * np.pi)
                for a, curve in zip(
                    angle,
                    (c if u else w for u, c, w in zip(uniform, caustic, cut, strict=True)),
                    strict=True,
                )
            ]
        )
        limit = np.where(uniform, limit + _INFLATED, _WITHIN_CUT * limit)
        offsets[todo] = radius[:, None] * np.stack((np.sin(angle), np.cos(angle)), axis=1)
        todo = todo[radius > limit]
    return lenses[:, :2] + offsets


def _polar(curves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Angles and radii, each (n, points)."""
    return np.arctan2(curves[..., 0], curves[..., 1]), np.hypot(curves[..., 0], curves[..., 1])


def _at(curves: tuple[np.ndarray, np.ndarray], i: int) -> tuple[np.ndarray, np.ndarray]:
    return curves[0][i], curves[1][i]


def lens_lights(n: int, size: int, pixel_scale: float, seed: int = 0) -> np.ndarray:
    """Images of elliptical galaxies, Sersic profiles in the middle of the frame.

    Parameters
    ----------
    n
        How many.
    size, pixel_scale
        Pixels a side, and arcsec per pixel.
    seed
        Of their shapes.

    Returns
    -------
    Brightest pixel 1, shape (n, size, size), float32.
    """
    rng = np.random.default_rng(seed)
    grid = al.Grid2D.uniform((size, size), pixel_scale, over_sample_size=2)
    images = []
    for _ in range(n):
        light = al.lp.Sersic(
            ell_comps=tuple(rng.uniform(-_LIGHT_ELL_COMPS, _LIGHT_ELL_COMPS, size=2)),
            effective_radius=rng.uniform(*_LIGHT_RADIUS),
            sersic_index=rng.uniform(*_LIGHT_INDEX),
        )
        image = light.image_2d_from(grid).native.array
        images.append(np.float32(image / image.max()))
    return np.stack(images)
