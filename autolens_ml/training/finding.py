"""The task of finding lenses: one network, images in some bands, lens or not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from autolens_ml.exceptions import NetworkError, OptionError
from autolens_ml.networks.architectures import architecture, stored_network
from autolens_ml.networks.checkpoint import Card
from autolens_ml.networks.finder import Finder
from autolens_ml.simulate.finding.bands import bands_from
from autolens_ml.simulate.finding.systems import (
    COMPOUND,
    LENS,
    SHARES,
    FindingPopulation,
    Systems,
)
from autolens_ml.simulate.forward import CHUNK
from autolens_ml.training.detection import (
    THRESHOLD,
    Detection,
    detection_from,
    share_from,
    temperature_from,
)
from autolens_ml.training.finding_set import FindingBatch, FindingSet, FindingSource
from autolens_ml.training.merit import speed_of
from autolens_ml.training.preset import Preset
from autolens_ml.training.task import Evaluation, Say, Task, reporter, silent

__all__ = ["TASK", "Finding", "FindingEvaluation", "grid_of"]

TASK = "lens-finding"
_ENTRIES, _COMPOUND_ENTRY = ("bands", "shape", "pixel_scale"), "compound"
# Sets of the task have seeds of their own for each seed of a preset.
_SEEDS_PER_PRESET = 10
_BATCH = 64
_SPEED_BATCH = 256
# Keeps test systems apart from any training set with the same seed; ordinary ones, and the two
# sets of compound lenses, which are a tenth as many.
_STREAM = 7919
_COMPOUND_SHARE = 10


@dataclass(frozen=True, kw_only=True)
class FindingEvaluation(Evaluation):
    """Figures of merit of a network that finds lenses.

    Attributes
    ----------
    detection : Detection
        Of lenses and non-lenses.
    kinds : ndarray
        Kind of each system, indices into ``systems.KINDS``, shape (n,).
    """

    detection: Detection
    kinds: np.ndarray


class Finding(Task):
    """Classification of cut-outs, with probabilities that are calibrated afterwards.

    The ``data`` of its presets are ``bands``, in the order of the network's channels, ``shape`` and
    ``pixel_scale`` of the network's images: bands on another grid are resampled; and, if need be,
    ``compound``, the share of systems that are compound lenses in place of ordinary ones, compound
    arcs and double rings alike. ``network`` has the ``class`` of a network, one of
    ``networks.finder``, and its arguments other than ``n_bands``. All presets of one seed, size
    and share learn from the same simulated sets.

    Attributes
    ----------
    bands : tuple of str
        Names.
    shape : tuple of int
        (y, x) of images.
    pixel_scale : float
        In arcsec.
    compound : float
        Share of compound lenses among all systems.
    """

    def __init__(self, preset: Preset) -> None:
        super().__init__(preset)
        data, entries = preset.data, (*_ENTRIES, _COMPOUND_ENTRY)
        if unknown := sorted(str(name) for name in data if name not in entries):
            raise OptionError(f"data: unknown {', '.join(unknown)}; known: {', '.join(entries)}")
        if missing := [name for name in _ENTRIES if name not in data]:
            raise OptionError(f"data: needs {', '.join(missing)}")
        self.bands, self.shape, self.pixel_scale = _grid_from(data)
        self.compound = data.get(_COMPOUND_ENTRY, 0.0)
        if not isinstance(self.compound, int | float) or not 0.0 <= self.compound < SHARES[LENS]:
            raise OptionError(
                f"data: {_COMPOUND_ENTRY} must be from 0 to below {SHARES[LENS]}, the share of all "
                f"lenses, not {self.compound!r}"
            )

    def network(self) -> Finder:
        """The untrained network; it has seen an image of the preset's shape."""
        options = dict(self.preset.network)
        name = options.pop("class", None)
        try:
            made = architecture(name)
        except NetworkError as error:
            raise OptionError(f"network: {error}") from error
        if not issubclass(made, Finder):
            raise OptionError(f"network: {name} finds no lenses; see networks.finder")
        try:
            network = made(n_bands=len(self.bands), **options)
        except TypeError as error:
            raise OptionError(f"network: {error}") from error
        if (network.side, network.side) != self.shape:
            raise OptionError(
                f"data: shape must be [{network.side}, {network.side}] for {name}, not "
                f"{list(self.shape)}"
            )
        return network

    def sources(self, folder: Path, say: Say = silent) -> dict[str, FindingSource]:
        """Lenses and non-lenses in all bands, of which this preset sees some.

        Raises
        ------
        DataError
            When a folder holds another set, or a damaged one.
        OptionError
            When a set does not fit on the disk.
        """
        options = self.preset.training
        sizes = {"training": options.n_training, "validation": options.n_validation}
        shares, kept = None, folder / "finding"
        if self.compound:
            each = self.compound / len(COMPOUND)
            lenses = {LENS: SHARES[LENS] - self.compound, **dict.fromkeys(COMPOUND, each)}
            shares, kept = {**SHARES, **lenses}, folder / f"finding-compound-{self.compound:g}"
        population = FindingPopulation(shares)
        sources = {}
        for i, (name, n) in enumerate(sizes.items()):
            seed = _SEEDS_PER_PRESET * self.preset.seed + i
            systems = FindingSet.simulated(
                population, n, seed, kept / name, reporter(name, say)
            ).systems
            sources[name] = self._source(systems, augment=name == "training")
        return sources

    def _source(self, systems: Systems, augment: bool) -> FindingSource:
        return FindingSource(systems, self.bands, self.shape, self.pixel_scale, augment)

    def loss(self, network: nn.Module, batch: FindingBatch) -> torch.Tensor:
        """Cross-entropy."""
        return nn.functional.cross_entropy(network(batch.images), batch.labels)

    @torch.no_grad()
    def finish(self, network: nn.Module, validation: FindingSource) -> None:
        """Learn the temperature that makes probabilities right on the validation set."""
        rng, logits = np.random.default_rng(0), []
        for i in range(0, len(validation), _BATCH):
            rows = np.arange(i, min(i + _BATCH, len(validation)))
            logits.append(network(validation.batch_from(rows, rng).images))
        labels = validation.labels.numpy()
        network.temperature.fill_(temperature_from(torch.cat(logits).numpy(), labels))

    def card_fields(self) -> dict[str, Any]:
        """Of bands and classes."""
        names = "-".join(
            dict.fromkeys(b.instrument.name.split("-")[1] for b in bands_from(self.bands))
        )
        return {
            "instrument": {"name": f"euclid-{names}"},
            "bands": list(self.bands),
            "inputs": {
                "shape": list(self.shape),
                "pixel_scale": self.pixel_scale,
                "units": "any; NaN where there are no data",
            },
            "outputs": {"classes": ["no lens", "lens"], "threshold": THRESHOLD},
        }

    @staticmethod
    def evaluate(card: Card, n: int, seed: int, say: Say = silent) -> FindingEvaluation:
        """Figures of merit on ``n`` systems, half of them lenses, and recall of compound lenses.

        There are a tenth as many compound arcs and double rings each.
        """
        network = stored_network(card)
        bands, shape, pixel_scale = grid_of(card)
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_STREAM, 1)))
        seeds = np.random.SeedSequence(seed, spawn_key=(_STREAM,)).generate_state(1 + len(COMPOUND))

        def probabilities_of(
            what: str, population: FindingPopulation, n: int, seed: int
        ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            found, lenses, kinds = [], [], []
            for systems in population.batches(n, seed):
                source = FindingSource(systems, bands, shape, pixel_scale, augment=False)
                batch = source.batch_from(np.arange(len(systems)), rng)
                found.append(_probabilities(network, batch.images))
                lenses.append(systems.is_lens)
                kinds.append(systems.kinds)
                say(f"{what}: {len(found) * CHUNK:,} of {n:,}")
            return tuple(np.concatenate(parts) for parts in (found, lenses, kinds))

        ordinary = FindingPopulation(bands=bands)
        found, lenses, kinds = probabilities_of("test systems", ordinary, n, int(seeds[0]))
        detection = detection_from(found, lenses, seed)
        figures = dict(detection.figures)
        for kind, own in zip(COMPOUND, seeds[1:], strict=True):
            population = FindingPopulation({kind: 1.0}, bands)
            number = max(n // _COMPOUND_SHARE, 1)
            (found, *_) = probabilities_of(f"{kind} lenses", population, number, int(own))
            figures[f"recall_{kind.replace('-', '_')}"] = share_from(found > THRESHOLD)
        images = torch.randn(_SPEED_BATCH, len(bands), *shape)
        figures["stamps_per_second"] = speed_of(
            lambda: _probabilities(network, images), _SPEED_BATCH
        )
        command = f"autolens-ml evaluate {card.name} --n {n} --seed {seed}"
        metrics = {name: {**figure, "command": command} for name, figure in figures.items()}
        return FindingEvaluation(
            card=card.with_metrics(metrics),
            report=_report(detection),
            plots=_plots(detection, card.name),
            verdict=_verdict(figures),
            detection=detection,
            kinds=kinds,
        )


def grid_of(card: Card) -> tuple[tuple[str, ...], tuple[int, int], float]:
    """Bands, shape (y, x) and arcsec per pixel of the images that the network of a card takes.

    Raises
    ------
    NetworkError
        When the card does not say.
    """
    try:
        return _grid_from({"bands": card.bands, **card.inputs})
    except (KeyError, TypeError, OptionError) as error:
        raise NetworkError(
            f"{card.path}: its inputs are not those of a finder ({error})"
        ) from error


def _grid_from(values: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[int, int], float]:
    """Bands, shape and pixel scale of images."""
    bands = values["bands"]
    if not isinstance(bands, list) or not all(isinstance(band, str) for band in bands):
        raise OptionError(f"data: bands must be a list of names, not {bands!r}")
    names = tuple(band.name for band in bands_from(bands))
    shape, scale = values["shape"], values["pixel_scale"]
    if not (
        isinstance(shape, list | tuple)
        and len(shape) == 2
        and all(isinstance(side, int) and side > 0 for side in shape)
    ):
        raise OptionError(f"data: shape must be two numbers of pixels, not {shape!r}")
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not scale > 0.0:
        raise OptionError(f"data: pixel_scale must be a number above 0, not {scale!r}")
    return names, tuple(shape), float(scale)


@torch.inference_mode()
def _probabilities(network: nn.Module, images: torch.Tensor) -> np.ndarray:
    return network.probabilities(images).double().numpy()


def _report(detection: Detection) -> dict[str, Any]:
    """Curves as plain values."""
    roc, reliability = detection.roc, detection.reliability
    return {
        "roc": {key: value.tolist() for key, value in vars(roc).items()},
        "reliability": {key: value.tolist() for key, value in vars(reliability).items()},
    }


def _plots(detection: Detection, name: str) -> dict[str, Callable[[Path], Path]]:
    from autolens_ml.plot.finder_plots import reliability_plot, roc_plot

    return {
        "roc": lambda path: roc_plot({name: detection}, path),
        "reliability": lambda path: reliability_plot({name: detection}, path),
    }


def _verdict(figures: Mapping[str, Mapping[str, float]]) -> str:
    def words(name: str) -> str:
        figure = figures[name]
        return f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"

    recalls = ", ".join(
        f"{kind.replace('-', ' ')} {words(f'recall_{kind.replace("-", "_")}')}" for kind in COMPOUND
    )
    return (
        f"AUC {words('auc')}, F1 {words('f1')}, found before the tenth false positive "
        f"{words('tpr_10')}; recall of compound lenses: {recalls}"
    )
