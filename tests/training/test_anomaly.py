"""The task of finding what is strange."""

import json

import numpy as np
import pytest
import torch

from autolens_ml.exceptions import OptionError
from autolens_ml.networks.architectures import stored_network
from autolens_ml.training.anomaly import CONDITIONS, TASK, Anomaly
from autolens_ml.training.anomaly_accuracy import ScoreTable, figures_of
from autolens_ml.training.preset import Preset, preset_from, presets
from autolens_ml.training.task import task_of
from autolens_ml.training.train import Hardware, train
from tests.morphologies import CHANGES

SMALL = {
    "name": "small",
    "description": "For tests.",
    "task": TASK,
    "data": {"setting": {"name": "model-i", **CHANGES}},
    "network": {
        "kind": "variational",
        "latent_dim": 3,
        "encoder_widths": [8, 8],
        "widths": [8, 8],
        "n_hidden": 8,
    },
    "training": {
        "n_training": 64,
        "n_validation": 64,
        "n_steps": 2,
        "batch_size": 4,
        "validate_every": 2,
    },
}


def preset(**changes):
    values = json.loads(json.dumps(SMALL))
    for section, entries in changes.items():
        values[section] = values[section] | entries
    return Preset.from_dict(values)


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    return tmp_path_factory.mktemp("sets")


@pytest.mark.parametrize("kind", ["variational", "adversarial"])
def test_from_a_preset_to_figures(kind, tmp_path, sets):
    card = train(
        preset(network={"kind": kind}), tmp_path, Hardware(accelerator="cpu", devices=1), sets=sets
    )
    network = stored_network(card)
    known = 3 if kind == "variational" else 2
    assert (network.thresholds < 6e4).sum() == known
    result = Anomaly.evaluate(card, 20, 1)
    names = ["error", "mahalanobis"] + ["elbo"] * network.is_variational
    for name in names:
        figure = result.card.metrics[f"auc_{name}_all"]
        assert 0.0 <= figure["low"] <= figure["value"] <= figure["high"] <= 1.0
        assert figure["n"] == 60
        assert abs(result.card.metrics[f"auc_{name}_vortex"]["n"] - 40) <= 2
    assert result.verdict.count("(") == len(names)
    for name, draw in result.plots.items():
        assert draw(tmp_path / f"{name}.png").stat().st_size > 5000


def test_a_conditional_network_is_told_the_smooth_lens(sets):
    task = task_of(preset(network={"kind": "conditional"}))
    network = task.network()
    assert network.config["n_conditions"] == len(CONDITIONS) == 11
    # Conditions are in units of the population's scatter.
    batch = task.sources(sets)["training"].batch_from(np.arange(64), np.random.default_rng(0))
    told = network._told(batch.conditions, 64)
    column = CONDITIONS.index("source_x")
    assert float(told[:, column].std()) == pytest.approx(1.0, abs=0.2)
    assert torch.isfinite(task.loss(network, batch))


def test_nothing_but_smooth_lenses_is_learned_from(sets):
    sources = task_of(preset()).sources(sets)
    for source in sources.values():
        assert (source.source.labels == 0).all()


def test_shipped_presets():
    kinds = {}
    for name in presets():
        if name.startswith("anomaly-"):
            task = task_of(preset_from(name))
            assert isinstance(task, Anomaly)
            kinds[name] = task.network().kind
    assert sorted(kinds.values()) == ["adversarial", "autoencoder", "conditional", "variational"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"network": {"kind": "gan"}}, "no kind"),
        ({"network": {"depth": 2}}, "depth"),
        ({"data": {"changes": {"instrument": {"shape": [32, 64]}}}}, "must be square"),
    ],
)
def test_refused_presets(changes, words):
    with pytest.raises(OptionError, match=words):
        task_of(preset(**changes))


def test_figures_of_known_scores():
    rng = np.random.default_rng(0)
    classes = np.repeat([0, 1, 2], 500)
    shift = np.array([0.0, 1.0, 4.0])[classes]
    table = ScoreTable(
        {"good": rng.standard_normal(1500) + shift, "bad": rng.standard_normal(1500)}, classes
    )
    figures = figures_of(table)
    assert figures["auc"] == figures["auc_good_all"]
    assert figures["auc_good_vortex"]["value"] > 0.99 > figures["auc_good_cdm"]["value"] > 0.7
    bad = figures["auc_bad_all"]
    assert bad["low"] - 0.01 < 0.5 < bad["high"] + 0.01
