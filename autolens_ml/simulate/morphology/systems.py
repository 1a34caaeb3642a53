"""Lenses without substructure, with subhaloes, with a vortex and with a lattice of vortices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from numbers import Integral

import numpy as np

from autolens_ml.exceptions import OptionError
from autolens_ml.profiles.mass.lattice import triangular_lattice
from autolens_ml.simulate.finding.light import sersic_flux
from autolens_ml.simulate.morphology.lensing import CHUNK, MACRO, POINT, STRING, LensImages
from autolens_ml.simulate.morphology.settings import (
    Setting,
    einstein_radii_from,
    masses_from,
    setting_from,
)
from autolens_ml.simulate.morphology.smooth_fit import smooth_fit_for
from autolens_ml.simulate.sources import StampLibrary, library_from

__all__ = ["CLASSES", "KINDS", "MorphologyPopulation", "MorphologySystems", "classes_of"]

# What networks tell apart, and what is simulated; lattices are of the class of vortices.
CLASSES = ("no_sub", "cdm", "vortex")
KINDS = (*CLASSES, "lattice")
_CLASS_OF_KIND = np.array([0, 1, 2, 2])
# Vortices of a lattice, at most; its radius [arcsec] and the least angle of the spin with the line
# of sight [deg].
_N_STRINGS, _LATTICE_RADIUS, _INCLINATION = 7, 1.5, 30.0
# Slots of subhaloes: as many as there may be at most, but for one set in a million.
_SIGMAS = 5.0
# Of the pictures of a library, one in so many is of held-out sources.
_HELD_OUT = 5
# Steps of fits from the true lens, of Sersic sources and of Sersic profiles to pictures; and what
# lenses magnify by, about, where those start.
_STEPS, _STEPS_OF_PICTURES = 2, 6
_TYPICAL_MAGNIFICATION = 10.0


@dataclass(frozen=True)
class MorphologySystems:
    """Simulated lenses without noise, with everything that made them.

    Attributes
    ----------
    images : ndarray
        In units of the noise of an empty pixel of a typical observation, float32, shape (n, y, x).
    kinds : ndarray
        Indices into ``KINDS``, shape (n,).
    macro : ndarray
        The smooth lens and its source, columns as in ``lensing.MACRO``, shape (n, 12).
    points : ndarray
        Subhaloes, columns as in ``lensing.POINT``, zero where there is none, (n, n_slots, 3).
    strings : ndarray
        Vortices, columns as in ``lensing.STRING``, zero where there is none, (n, 7, 6).
    psf_fwhm : ndarray
        Full widths at half maximum [arcsec], shape (n,).
    smooth : ndarray or None
        Images of the smooth lenses that fit best, in the unit and shape of ``images``.
    """

    images: np.ndarray
    kinds: np.ndarray
    macro: np.ndarray
    points: np.ndarray
    strings: np.ndarray
    psf_fwhm: np.ndarray
    smooth: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.kinds)

    def __getitem__(self, rows: slice | np.ndarray) -> MorphologySystems:
        arrays = (getattr(self, entry.name) for entry in fields(self))
        return MorphologySystems(*(None if array is None else array[rows] for array in arrays))

    @property
    def classes(self) -> np.ndarray:
        """Indices into ``CLASSES``, shape (n,)."""
        return classes_of(self.kinds)

    @property
    def subhalo_masses(self) -> np.ndarray:
        """Of every slot [solar masses], shape (n, n_slots)."""
        return masses_from(self.points[..., POINT.index("einstein_radius")])

    @property
    def vortex_masses(self) -> np.ndarray:
        """Of every vortex [solar masses], shape (n, 7)."""
        return masses_from(self.strings[..., STRING.index("einstein_radius")])

    @property
    def substructure_mass(self) -> np.ndarray:
        """Of all subhaloes and vortices [solar masses], shape (n,)."""
        return self.subhalo_masses.sum(axis=1) + self.vortex_masses.sum(axis=1)


def classes_of(kinds: np.ndarray) -> np.ndarray:
    """Indices into ``CLASSES`` of indices into ``KINDS``."""
    return _CLASS_OF_KIND[np.asarray(kinds, dtype=int)]


class MorphologyPopulation:
    """Lenses of a setting, of several kinds in fixed shares.

    Parameters
    ----------
    setting
        A setting, its name, or a mapping as `setting_from` takes.
    shares
        Share of each kind, by name: positive numbers with any sum. By default a third each of
        ``no_sub``, ``cdm`` and ``vortex``.
    held_out
        Whether sources are those pictures of the library that no other population has.
    with_smooth
        Whether the smooth lens that fits each best is found: steps of a fit to the image without
        noise, from the true smooth lens.

    Raises
    ------
    OptionError
        When there is no such setting or kind, or a share is not positive.
    """

    def __init__(
        self,
        setting: Setting | str | Mapping,
        shares: Mapping[str, float] | None = None,
        held_out: bool = False,
        with_smooth: bool = False,
    ) -> None:
        self.setting = setting if isinstance(setting, Setting) else setting_from(setting)
        shares = dict.fromkeys(CLASSES, 1.0) if shares is None else dict(shares)
        if unknown := sorted(str(kind) for kind in shares if kind not in KINDS):
            raise OptionError(f"shares: no kind {', '.join(unknown)}; known: {', '.join(KINDS)}")
        if not shares or not all(share > 0.0 for share in shares.values()):
            raise OptionError(f"shares must be positive numbers by kind, not {shares}")
        total = sum(shares.values())
        self.shares = {kind: share / total for kind, share in shares.items()}
        self.held_out = held_out
        self.with_smooth = with_smooth
        number = self.setting.largest_number
        # Multiples of 16, so that sets that differ little are compiled once.
        self.n_slots = 16 * int(np.ceil((number + _SIGMAS * np.sqrt(number) + 1.0) / 16.0))
        self.n_strings = _N_STRINGS

    @property
    def unit(self) -> float:
        """Noise of an empty pixel of a typical observation [electrons per second]."""
        instrument = self.setting.instrument
        return float(instrument.background_noise_from(self.exposure_time))

    @property
    def exposure_time(self) -> float:
        """Of a typical observation [s]."""
        return float(np.sqrt(np.prod(self.setting.instrument.exposure_time)))

    @cached_property
    def library(self) -> StampLibrary | None:
        """Pictures of the sources, if they are pictures."""
        return None if self.setting.stamps is None else library_from(self.setting.stamps)

    @cached_property
    def lens_images(self) -> LensImages:
        """What makes the images."""
        return LensImages(self.setting.instrument, self.library and self.library.size)

    def batches(self, n: int, seed: int, start: int = 0) -> Iterator[MorphologySystems]:
        """Lenses ``start`` to ``n`` in batches of ``CHUNK``, the last one cut.

        Lens i depends on the seed and on i alone.

        Raises
        ------
        OptionError
            When ``n`` or ``seed`` is not a whole number of at least 0, or ``start`` not a multiple
            of ``CHUNK``.
        """
        for name, value in (("n", n), ("seed", seed), ("start", start)):
            if not isinstance(value, Integral) or value < 0:
                raise OptionError(f"{name} must be a whole number of at least 0, not {value!r}")
        if start % CHUNK:
            raise OptionError(f"start must be a multiple of {CHUNK}, not {start}")
        return (self._chunk(seed, first // CHUNK)[: n - first] for first in range(start, n, CHUNK))

    def smooth_lenses(
        self, n: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Smooth lenses and their sources: columns as in ``MACRO``, and pictures of the sources."""
        return self._smooth(np.zeros(n), rng)

    def _chunk(self, seed: int, index: int) -> MorphologySystems:
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))
        # In turn, so that a set holds as many of each kind as it should.
        names, shares = list(self.shares), np.cumsum(list(self.shares.values()))
        places = (index * CHUNK + np.arange(CHUNK) + 0.5) * _GOLDEN % 1.0
        drawn = np.minimum(np.searchsorted(shares, places, side="right"), len(names) - 1)
        kinds = np.array([KINDS.index(names[number]) for number in drawn])
        points = np.zeros((CHUNK, self.n_slots, len(POINT)))
        strings = np.zeros((CHUNK, self.n_strings, len(STRING)))
        for row, kind in enumerate(kinds):
            if KINDS[kind] == "cdm":
                points[row] = self._subhaloes(rng)
            elif KINDS[kind] == "vortex":
                strings[row, :1] = self._vortex(rng)
            elif KINDS[kind] == "lattice":
                strings[row] = self._lattice(rng)
        lost = masses_from(points[..., -1]).sum(1) + masses_from(strings[..., -1]).sum(1)
        macro, stamps = self._smooth(lost, rng)
        fwhm = rng.uniform(*self.setting.instrument.psf_fwhm, size=CHUNK)
        images = np.empty((CHUNK, *self.setting.instrument.shape), dtype=np.float32)
        # Loops over empty slots would take most of the time.
        for kind in np.unique(kinds):
            rows = kinds == kind
            n_points = self.n_slots if KINDS[kind] == "cdm" else 0
            n_strings = {"vortex": 1, "lattice": self.n_strings}.get(KINDS[kind], 0)
            images[rows] = self.lens_images.images_from(
                macro[rows],
                points[rows, :n_points],
                strings[rows, :n_strings],
                fwhm[rows],
                None if stamps is None else stamps[rows],
            )
        images /= self.unit
        smooth = self._fitted(images, kinds, macro, fwhm) if self.with_smooth else None
        return MorphologySystems(images, kinds, macro, points, strings, fwhm, smooth)

    def _fitted(
        self, images: np.ndarray, kinds: np.ndarray, macro: np.ndarray, fwhm: np.ndarray
    ) -> np.ndarray:
        """Images of the smooth lenses that fit best."""
        smooth = np.array(images)
        is_picture = self.library is not None
        # A Sersic source behind a smooth lens fits itself.
        rows = np.full(len(kinds), True) if is_picture else kinds > 0
        start = np.array(macro)
        start[:, MACRO.index("source_intensity")] /= self.unit
        if is_picture:
            for name in ("source_ell_comps_0", "source_ell_comps_1"):
                start[:, MACRO.index(name)] = 0.0
            start[:, MACRO.index("source_index")] = 1.0
            radius = start[:, MACRO.index("source_radius")]
            flux = images.sum(axis=(1, 2)) / _TYPICAL_MAGNIFICATION
            area = self.setting.instrument.pixel_scale**2
            start[:, MACRO.index("source_intensity")] = flux * area / sersic_flux(radius, 1.0)
        noise = np.sqrt(1.0 + np.maximum(images, 0.0) / (self.unit * self.exposure_time))
        n_steps = _STEPS_OF_PICTURES if is_picture else _STEPS
        smooth[rows] = smooth_fit_for(self.setting.instrument).refine(
            images[rows], noise[rows], fwhm[rows], start[rows], n_steps
        )
        return smooth

    def _subhaloes(self, rng: np.random.Generator) -> np.ndarray:
        setting = self.setting
        expected = _log_uniform(setting.subhalo_share, rng) * setting.halo_mass
        number = min(rng.poisson(expected / setting.mean_subhalo_mass), self.n_slots)
        masses = setting.subhalo_masses_from(rng.random(number))
        radius = rng.uniform(*setting.subhalo_radius, size=number)
        angle = rng.uniform(0.0, 2.0 * np.pi, size=number)
        slots = np.zeros((self.n_slots, len(POINT)))
        slots[:number, 0], slots[:number, 1] = radius * np.sin(angle), radius * np.cos(angle)
        slots[:number, 2] = einstein_radii_from(masses)
        return slots

    def _vortex(self, rng: np.random.Generator) -> np.ndarray:
        setting = self.setting
        mass = _log_uniform(setting.vortex_share, rng) * setting.halo_mass
        return np.array(
            [
                *(setting.vortex_offset * rng.standard_normal(2)),
                rng.uniform(0.0, 180.0),
                _log_uniform(setting.half_length, rng),
                setting.core_radius,
                einstein_radii_from(mass),
            ]
        )

    def _lattice(self, rng: np.random.Generator) -> np.ndarray:
        """Equal parallel vortices around the middle, together as heavy as a single one."""
        number = int(rng.integers(2, self.n_strings + 1))
        one = self._vortex(rng)
        tilt = np.radians(rng.uniform(_INCLINATION, 90.0))
        phi = np.radians(one[2])
        across, along = triangular_lattice(number, _LATTICE_RADIUS).T
        along = along * np.cos(tilt)
        slots = np.zeros((self.n_strings, len(STRING)))
        slots[:number] = one
        slots[:number, 0] = across * np.cos(phi) + along * np.sin(phi)
        slots[:number, 1] = -across * np.sin(phi) + along * np.cos(phi)
        slots[:number, 3] = one[3] * np.sin(tilt)
        slots[:number, 5] = one[5] / np.sqrt(number)
        return slots

    def _smooth(
        self, lost: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Columns of ``MACRO`` of lenses whose halo has lost a mass, and pictures of sources."""
        setting, n = self.setting, len(lost)
        mass = setting.halo_mass * 10.0 ** (setting.halo_scatter * rng.standard_normal(n))
        radius = rng.uniform(*setting.source_radius, size=n)
        index = rng.uniform(*setting.source_index, size=n)
        flux = np.exp(rng.uniform(*np.log(setting.source_flux), size=n))
        area = setting.instrument.pixel_scale**2
        ell_comps = _drawn(setting.source_ell_comps, setting.source_ell_comps_scatter, n, rng)
        stamps = None
        if self.library is None:
            intensity = flux * area / sersic_flux(radius, index)
        else:
            held_out = np.arange(len(self.library)) % _HELD_OUT == 0
            allowed = np.flatnonzero(held_out == self.held_out)
            stamps = self.library.stamps[rng.choice(allowed, size=n)]
            pixel = 10.0 * radius / self.library.size
            intensity = flux * area / (stamps.sum(axis=(1, 2)) * pixel**2)
            angle = rng.uniform(0.0, 2.0 * np.pi, size=n)
            ell_comps = np.stack([np.sin(angle), np.cos(angle)], axis=1)
        lens_ell_comps = _drawn(setting.ell_comps, setting.ell_comps_scatter, n, rng)
        shear = _drawn(setting.shear, setting.shear_scatter, n, rng)
        centre = rng.uniform(-setting.source_offset, setting.source_offset, size=(n, 2))
        columns = {
            "einstein_radius": einstein_radii_from(mass - lost),
            "ell_comps_0": lens_ell_comps[:, 0],
            "ell_comps_1": lens_ell_comps[:, 1],
            "gamma_1": shear[:, 0],
            "gamma_2": shear[:, 1],
            "source_y": centre[:, 0],
            "source_x": centre[:, 1],
            "source_radius": radius,
            "source_ell_comps_0": ell_comps[:, 0],
            "source_ell_comps_1": ell_comps[:, 1],
            "source_index": index,
            "source_intensity": intensity,
        }
        return np.stack([columns[name] for name in MACRO], axis=1), stamps


# Multiples of it, without their whole parts, fill the unit interval evenly.
_GOLDEN = 0.5 * (np.sqrt(5.0) - 1.0)


def _log_uniform(limits: tuple[float, float], rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(*np.log(limits))))


def _drawn(
    mean: tuple[float, float], scatter: float, n: int, rng: np.random.Generator
) -> np.ndarray:
    """Normal vectors, shape (n, 2), of at most 0.7 in size."""
    drawn = np.array(mean) + scatter * rng.standard_normal((n, 2))
    size = np.hypot(*drawn.T)
    return drawn * (np.minimum(size, 0.7) / np.maximum(size, 1e-12))[:, None]
