"""The task of estimating lens parameters: a posterior network trained on a population."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autolens_ml.exceptions import OptionError
from autolens_ml.networks.checkpoint import Card
from autolens_ml.networks.orientations import Orientation
from autolens_ml.networks.posterior import PosteriorNetwork
from autolens_ml.simulate.description import population_from
from autolens_ml.simulate.population import Population
from autolens_ml.training.lens_set import (
    Batch,
    LensSet,
    Observer,
    Shares,
    symmetries_in_training,
    target_columns,
)
from autolens_ml.training.preset import Preset, TrainingOptions
from autolens_ml.training.task import Evaluation, Say, Task, reporter, silent

_SEEDS_PER_PRESET = 10
_FEATURE_BATCH = 64
_ENTRIES = ("population", "targets", "shares")


class LensParameters(Task):
    """Neural posterior estimation: minus the mean log density of the true latents.

    Its minimum over all densities is the posterior (Papamakarios & Murray 2016,
    arXiv:1605.06376). The ``data`` of its presets are

    - ``population``, see :func:`~autolens_ml.simulate.description.population_from`;
    - ``targets``, paths or beginnings of paths of the parameters that the network estimates;
    - ``shares``, if need be: how often images have what real ones have, see
      :class:`~autolens_ml.training.lens_set.Shares`.

    ``network`` has the arguments of :class:`PosteriorNetwork` other than ``dim``; of these
    ``orientations`` is their number, 1 to 8, of which those are used that lead to lenses of the
    population. With 1 nothing is averaged, but widths are calibrated all the same.

    Attributes
    ----------
    population : Population
        Of the lenses.
    targets : dict
        Path -> column of the parameters that are estimated.
    """

    def __init__(self, preset: Preset) -> None:
        super().__init__(preset)
        data = preset.data
        if unknown := sorted(str(name) for name in data if name not in _ENTRIES):
            raise OptionError(f"data: unknown {', '.join(unknown)}; known: {', '.join(_ENTRIES)}")
        if missing := [name for name in _ENTRIES[:2] if name not in data]:
            raise OptionError(f"data: needs {', '.join(missing)}")
        if not isinstance(data["population"], Mapping):
            raise OptionError(f"data: population must be a mapping, not {data['population']!r}")
        targets = data["targets"]
        if not (isinstance(targets, list) and targets and all(isinstance(t, str) for t in targets)):
            raise OptionError(
                f"data: targets must be paths, such as galaxies.lens.mass, not {targets!r}"
            )
        self._shares = _shares_from(data.get("shares") or {})
        self.population = population_from(data["population"])
        self.targets = target_columns(self.population.model, targets)

    @property
    def _columns(self) -> list[int]:
        return list(self.targets.values())

    def network(self) -> PosteriorNetwork:
        """The untrained network; it has seen an image of the population's shape."""
        network = posterior_network_of(self.preset, len(self.targets), lambda: self.orientations)
        y, x = self.population.instrument.shape
        blank = torch.ones(1, y, x)
        try:
            with torch.no_grad():
                network(blank, blank, blank, torch.ones(1))
        except RuntimeError as error:
            raise OptionError(
                f"network: fold must divide both sides of the images, which have {y} x {x} pixels"
            ) from error
        return network

    @property
    def orientations(self) -> list[Orientation]:
        """What flips and turns that lead to lenses of the population do to the targets."""
        columns = self._columns
        return [
            Orientation.from_matrix(s.flip, s.turns, s.matrix[np.ix_(columns, columns)])
            for s in symmetries_in_training(self.population, columns)
        ]

    def sources(self, folder: Path, say: Say = silent) -> dict[str, Observer]:
        """Observers of the simulated sets.

        Raises
        ------
        DataError
            When a folder holds another set, or a damaged one.
        OptionError
            When a set does not fit on the disk.
        """
        sets = lens_sets(self.population, self.preset.training, self.preset.seed, folder, say)
        return {
            "training": Observer(sets["training"], self._columns, self._shares),
            "validation": Observer(sets["validation"], self._columns, self._shares, augment=False),
        }

    def loss(self, network: PosteriorNetwork, batch: Batch) -> torch.Tensor:
        """Minus the mean log density."""
        return -network(*batch.inputs).log_prob(batch.latents).mean()

    @torch.no_grad()
    def finish(self, network: PosteriorNetwork, validation: Observer) -> None:
        """Learn how features are distributed and, averaged over orientations, how wide to be."""
        n, rng = len(validation), np.random.default_rng(0)
        batches = [
            validation.batch_from(np.arange(i, min(i + _FEATURE_BATCH, n)), rng)
            for i in range(0, n, _FEATURE_BATCH)
        ]
        network.learn_features(torch.cat([network.features(*batch.inputs) for batch in batches]))
        if network.orientations:
            network.learn_orientations([(batch.inputs, batch.latents) for batch in batches])

    def card_fields(self) -> dict[str, Any]:
        """Of images, priors and parameters."""
        instrument = self.population.instrument
        return {
            "instrument": instrument.as_dict(),
            "bands": list(instrument.bands),
            "inputs": {
                "shape": list(instrument.shape),
                "pixel_scale": instrument.pixel_scale,
                "units": "noise of an empty pixel",
            },
            "outputs": {
                "parameters": list(self.targets),
                "prior": self.population.model.dict(),
                "noise_units": self.population.noise_units,
                "population": self.preset.data["population"],
            },
        }

    @staticmethod
    def evaluate(card: Card, n: int, seed: int, say: Say = silent) -> Evaluation:
        """Errors, coverage, ranks and joint tests on fresh lenses of the population."""
        from autolens_ml.training.lens_accuracy import measured

        return measured(card, n, seed, say)


def posterior_network_of(
    preset: Preset, dim: int, orientations: Callable[[], list[Orientation]]
) -> PosteriorNetwork:
    """The untrained network of a preset, whose ``orientations`` are a number.

    Raises
    ------
    OptionError
        When an entry of its network section is wrong.
    """
    options = dict(preset.network)
    wanted = options.pop("orientations", None)
    if wanted is not None:
        if not isinstance(wanted, int) or isinstance(wanted, bool) or not 1 <= wanted <= 8:
            raise OptionError(f"network: orientations must be a number from 1 to 8, not {wanted!r}")
        options["orientations"] = [each.as_dict() for each in orientations()[:wanted]]
    try:
        return PosteriorNetwork(dim=dim, **options)
    except TypeError as error:
        raise OptionError(f"network: {error}") from error


def _shares_from(values: Any) -> Shares:
    if not isinstance(values, Mapping):
        raise OptionError(f"data: shares must be a mapping, not {values!r}")
    try:
        return Shares(**values)
    except TypeError as error:
        known = ", ".join(Shares.__dataclass_fields__)
        raise OptionError(f"data: shares has {', '.join(values)}; known: {known}") from error


def lens_sets(
    population: Population,
    options: TrainingOptions,
    seed: int,
    folder: Path,
    say: Say = silent,
) -> dict[str, LensSet]:
    """The simulated sets, ``training`` and ``validation``, made where they are missing.

    Each has a seed of its own: no validation lens is ever seen in training.

    Raises
    ------
    DataError
        When a folder holds another set, or a damaged one.
    OptionError
        When a set does not fit on the disk.
    """
    sizes = {"training": options.n_training, "validation": options.n_validation}
    return {
        name: LensSet.simulated(
            population, n, _SEEDS_PER_PRESET * seed + i, folder / name, reporter(name, say)
        )
        for i, (name, n) in enumerate(sizes.items())
    }
