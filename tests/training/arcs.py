"""Arcs as a task, in few and large pixels; every population is compiled once."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from autolens_ml.networks.checkpoint import Card, save_network
from autolens_ml.simulate.arcs import ArcPopulation
from autolens_ml.simulate.effects import ENSAI_EFFECTS, Sequence, Shift
from autolens_ml.simulate.instrument import INSTRUMENTS
from autolens_ml.simulate.sources import clumpy
from autolens_ml.simulate.survey_effects import SURVEY_EFFECTS, Aperture
from autolens_ml.training import arc_parameters
from autolens_ml.training.preset import Preset
from autolens_ml.training.task import task_of

SIDE, PIXEL_SCALE = 48, 0.16


@cache
def population() -> ArcPopulation:
    """Ensai's lenses before four galaxies."""
    return ArcPopulation(clumpy(4, size=32, seed=2), SIDE, PIXEL_SCALE)


@contextmanager
def small_arcs() -> Iterator[None]:
    """The task with pixels four times as large, whatever galaxies a preset asks for."""
    small = replace(INSTRUMENTS["ensai"], shape=(SIDE, SIDE), pixel_scale=PIXEL_SCALE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(INSTRUMENTS, "ensai", small)
        patch.setattr(arc_parameters, "library_from", lambda name: population().galaxies)
        patch.setattr(arc_parameters, "ArcPopulation", lambda *arguments: population())
        # As many arcsec as with Ensai's pixels.
        effects = Sequence((Shift(pixels=1), *ENSAI_EFFECTS.effects[1:]))
        patch.setattr(arc_parameters, "ENSAI_EFFECTS", effects)
        survey = Sequence((SURVEY_EFFECTS.effects[0], Aperture(radius=(14.0, 30.0))))
        patch.setattr(arc_parameters, "SURVEY_EFFECTS", survey)
        patch.setattr(arc_parameters, "_N_LIGHTS", 4)
        yield


def preset(**changes) -> Preset:
    """A preset; ``data``, ``training`` and ``network`` are merged, other entries replaced."""
    options = {"name": "ensai-6", "width": 0.5, "image_size": SIDE, "dropout": 0.1}
    data = {"galaxies": "clumpy"}
    network = {"backbone": "ensai", "backbone_options": options, "head": "moments"}
    training = {
        "n_training": 100,
        "n_validation": 64,
        "n_steps": 12,
        "batch_size": 16,
        "validate_every": 6,
        "ema_decay": 0.5,
    }
    values = {"name": "small-arcs", "description": "Arcs.", "task": "arc-parameters", "seed": 3}
    return Preset.from_dict(
        {
            **values,
            **changes,
            "data": {**data, **changes.get("data", {})},
            "network": {**network, **changes.get("network", {})},
            "training": {**training, **changes.get("training", {})},
        }
    )


def untrained(folder: Path, name: str, seed: int, **changes) -> Card:
    """Store a network of a preset with random weights."""
    task = task_of(preset(**changes))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = task.network()
    fields = {
        "name": name,
        "task": task.preset.task,
        "description": "Random.",
        "n_parameters": sum(p.numel() for p in network.parameters()),
        "architecture": {"class": type(network).__name__, "config": network.config},
        **task.card_fields(),
        "training": {},
        "metrics": {},
    }
    return save_network(folder, fields, network.state_dict(), dtype="float32")
