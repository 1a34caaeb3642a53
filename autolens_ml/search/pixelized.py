"""Maps for models with pixelized light and mass: reconstructed, kept beside the fits."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import autofit as af
import autolens as al
import numpy as np

from autolens_ml.exceptions import DataError, DataWarning, NetworkError
from autolens_ml.latent import LatentSpace, indexed_paths
from autolens_ml.networks.checkpoint import Card, cards, find_card
from autolens_ml.profiles.light import PixelLight
from autolens_ml.profiles.mass import PixelConvergence

TASK = "reconstruction"

# How far around the reconstruction starts are drawn, in standard deviations of the priors.
_SPREAD = 0.05
# Names of the parameters that scale a map, or turn it: as it was reconstructed, these values.
_AS_RECONSTRUCTED = {"amplitude": 1.0, "intensity": 1.0, "scale": 1.0, "position_angle": 0.0}


@dataclass(frozen=True, eq=False)
class Maps:
    """A reconstruction as models take it.

    Attributes
    ----------
    source, convergence : ndarray
        Surface brightness in the units of the data, and convergence; row 0 is at +y.
    source_scatter, convergence_scatter : ndarray
        Standard deviations of the maps over noise-perturbed copies of the data; zero without.
    source_pixel_scale, pixel_scale : float
        Sides of their pixels [arcsec].
    source_centre, centre : ndarray
        (y, x) of their middles [arcsec].
    shear : ndarray
        (gamma_1, gamma_2).
    reduced_chi_squared : float
        Of the reconstruction.
    n_noise : int
        How many copies.
    concerns : str
        What speaks against the reconstruction.
    network, sha256 : str
        What made it.
    """

    source: np.ndarray
    convergence: np.ndarray
    source_scatter: np.ndarray
    convergence_scatter: np.ndarray
    source_pixel_scale: float
    pixel_scale: float
    source_centre: np.ndarray
    centre: np.ndarray
    shear: np.ndarray
    reduced_chi_squared: float
    n_noise: int
    concerns: str
    network: str
    sha256: str
    info: dict[str, Any] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        total = np.sqrt(np.mean(self.convergence_scatter**2))
        scatter = (
            f"of the maps from {self.n_noise} noise-perturbed copies of the data (rms of the "
            f"convergence {total:.2g}): noise alone, without what the training prefers"
            if self.n_noise
            else "none of the maps"
        )
        info = {
            "network": self.network,
            "network_sha256": self.sha256,
            "network_doubts": self.concerns,
            "reduced_chi_squared": float(self.reduced_chi_squared),
            "uncertainty": scatter,
        }
        object.__setattr__(self, "info", info)

    def put_into(self, model: Any) -> Any:
        """A copy of a model whose pixelized profiles have these maps.

        A centre that is fixed becomes that of the map; what is free stays free.
        """
        model = model.copy()
        for component in _pixelized(model):
            is_light = issubclass(component.cls, PixelLight)
            component.values = self.source if is_light else self.convergence
            component.pixel_scale = self.source_pixel_scale if is_light else self.pixel_scale
            centre = self.source_centre if is_light else self.centre
            if isinstance(component.centre, tuple):
                component.centre = tuple(float(value) for value in centre)
                continue
            for i, value in enumerate(centre):
                if not isinstance(getattr(component.centre, f"centre_{i}"), af.Prior):
                    setattr(component.centre, f"centre_{i}", float(value))
        return model

    def draws(
        self, model: Any, space: LatentSpace
    ) -> Callable[[int, np.random.Generator], np.ndarray]:
        """Starts around the reconstruction; what it says nothing of is drawn from its prior."""
        physical = space.physical_from(np.zeros((1, space.dim)))
        known = np.zeros(space.dim, dtype=bool)
        for path, i in indexed_paths(model):
            value = self._value_at(model, path)
            if value is not None and not known[i]:
                physical[0, i], known[i] = value, True
        middle = space.latent_from(physical)[0]
        known &= np.isfinite(middle)

        def draw(n: int, rng: np.random.Generator) -> np.ndarray:
            z = rng.standard_normal((n, space.dim))
            return np.where(known, np.where(known, middle, 0.0) + _SPREAD * z, z)

        return draw

    def _value_at(self, model: Any, path: tuple[str, ...]) -> float | None:
        """What the reconstruction says of the parameter at a path."""
        in_tuple = len(path) > 1 and path[-1].startswith(f"{path[-2]}_")
        owner = model.object_for_path(path[:-2] if in_tuple else path[:-1])
        cls = getattr(owner, "cls", object)
        if issubclass(cls, al.mp.ExternalShear) and path[-1] in ("gamma_1", "gamma_2"):
            return float(self.shear[int(path[-1][-1]) - 1])
        if not issubclass(cls, (PixelLight, PixelConvergence)):
            return None
        if in_tuple:
            centre = self.source_centre if issubclass(cls, PixelLight) else self.centre
            return float(centre[int(path[-1][-1])])
        return _AS_RECONSTRUCTED.get(path[-1])


def is_pixelized(model: Any) -> bool:
    """Whether a model has light or mass whose map is to be reconstructed."""
    return bool(_pixelized(model))


def maps_for(
    dataset: Any,
    network: str | None,
    fine_tune: bool,
    n_noise: int,
    seed: int,
    folder: Path | None,
    say: Callable[[str], None],
) -> Maps:
    """The maps of a lens, read where they were stored, made otherwise.

    Parameters
    ----------
    dataset
        The ``al.Imaging`` that is fitted, without light of the lens.
    network
        A name or path; ``"auto"`` and ``None``: the shipped one whose pixels are most like the
        data's.
    fine_tune
        Whether the network is tuned to the data.
    n_noise
        Noise-perturbed copies of the data, for the scatter.
    seed
        Of tuning and copies.
    folder
        Where they are stored, and where an interrupted tuning goes on from; ``None``: nowhere.
    say
        Takes a line of progress.

    Raises
    ------
    DataError
        When the data are no image with noise and PSF.
    NetworkError
        When there is no such network, or it is for another task.

    Warns
    -----
    DataWarning
        Of what speaks against the reconstruction.
    """
    if not isinstance(dataset, al.Imaging):
        kind = "no dataset" if dataset is None else f"a dataset of type {type(dataset).__name__}"
        raise DataError(f"pixel maps are reconstructed from an al.Imaging, and there is {kind}")
    card = _card_for(network, dataset)
    key = _key(dataset, card, fine_tune, n_noise, seed)
    file = None if folder is None else folder / f"reconstruction_{key}.npz"
    if file is not None and file.is_file():
        maps = _read(file)
        if maps.concerns:
            warnings.warn(f"reconstruction: {maps.concerns}", DataWarning, stacklevel=2)
        return maps
    say(f"{card.name} reconstructs source and convergence{' (tuned first)' if fine_tune else ''}")
    checkpoint = None if folder is None else folder / f"reconstruction_{key}.tuning"
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    maps = _made(dataset, card, fine_tune, n_noise, seed, checkpoint, say)
    say(f"reduced chi-squared of the reconstruction {maps.reduced_chi_squared:.2f}")
    if file is not None:
        _write(file, maps)
    return maps


def _pixelized(model: Any) -> list[af.Model]:
    found = (*model.models_with_type(PixelConvergence), *model.models_with_type(PixelLight))
    return list(dict.fromkeys(found))


def _card_for(network: str | None, dataset: al.Imaging) -> Card:
    if network not in (None, "auto"):
        return find_card(network, TASK)
    known = cards(TASK)
    if not known:
        raise NetworkError(
            "no network for reconstruction is installed: give the path of one, or train a preset "
            "such as rim-small"
        )
    scale = float(dataset.pixel_scales[0])
    return min(known, key=lambda card: abs(np.log(scale / float(card.inputs["pixel_scale"]))))


def _key(dataset: al.Imaging, card: Card, fine_tune: bool, n_noise: int, seed: int) -> str:
    """Of all that maps depend on."""
    digest = hashlib.sha256(f"{card.sha256} {fine_tune} {n_noise} {seed}".encode())
    for array in _arrays(dataset):
        digest.update(np.ascontiguousarray(array, dtype=float).tobytes())
    return digest.hexdigest()[:16]


def _arrays(dataset: al.Imaging) -> tuple[np.ndarray, ...]:
    """Data, noise map, PSF and where data are used."""
    psf = np.asarray(dataset.psf.kernel.native.array) if dataset.psf is not None else np.empty(0)
    return (
        np.asarray(dataset.data.native.array),
        np.asarray(dataset.noise_map.native.array),
        psf,
        ~np.asarray(dataset.mask),
    )


def _made(
    dataset: al.Imaging,
    card: Card,
    fine_tune: bool,
    n_noise: int,
    seed: int,
    checkpoint: Path | None,
    say: Callable[[str], None],
) -> Maps:
    from autolens_ml.inference.reconstruction import FineTuning, LensImage, Reconstructor

    reconstructor = Reconstructor(card)
    found = reconstructor.reconstruct(
        dataset,
        fine_tuning=FineTuning() if fine_tune else None,
        seed=seed,
        checkpoint=checkpoint if fine_tune else None,
        say=say,
    )
    data, noise_map, psf, used = _arrays(dataset)
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    noise = noise_map * used * rng.standard_normal((n_noise, *data.shape))
    scale = float(dataset.pixel_scales[0])
    copies = reconstructor.reconstruct_many(
        [LensImage(data + one, noise_map, psf, scale, mask=used) for one in noise]
    )

    def found_map(name: str) -> np.ndarray:
        # autofit's names of folders see the values of double precision alone.
        return np.asarray(getattr(found, name), dtype=float)

    def scatter(name: str) -> np.ndarray:
        values = np.array([getattr(copy, name) for copy in copies], dtype=float)
        return np.std(values, axis=0, ddof=1) if n_noise > 1 else np.zeros_like(found_map(name))

    return Maps(
        source=found_map("source"),
        convergence=found_map("convergence"),
        source_scatter=scatter("source"),
        convergence_scatter=scatter("convergence"),
        source_pixel_scale=float(found.source_pixel_scale),
        pixel_scale=float(found.pixel_scale),
        source_centre=np.array(found.light.centre, dtype=float),
        centre=np.array(found.centre, dtype=float),
        shear=np.array(found.shear, dtype=float),
        reduced_chi_squared=found.reduced_chi_squared,
        n_noise=n_noise if n_noise > 1 else 0,
        concerns="; ".join(found.concerns),
        network=card.name,
        sha256=card.sha256,
    )


def _write(file: Path, maps: Maps) -> None:
    partial = file.with_name(f".{file.name}.partial")
    with partial.open("wb") as stream:
        np.savez_compressed(
            stream,
            **{entry.name: getattr(maps, entry.name) for entry in fields(maps) if entry.init},
        )
    os.replace(partial, file)


def _read(file: Path) -> Maps:
    try:
        with np.load(file, allow_pickle=False) as stored:
            values = {name: stored[name] for name in stored.files}
        plain = {n: v.item() if v.ndim == 0 else v for n, v in values.items()}
        return Maps(**plain)
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{file}: cannot be read; delete it, and it is made again") from error
