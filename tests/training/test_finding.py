"""The task of finding lenses, from a preset to a network that is measured."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from autolens_ml.exceptions import NetworkError, OptionError
from autolens_ml.networks import architectures
from autolens_ml.networks.finder import OU66, OU200, DihedralFinder, Finder
from autolens_ml.simulate.finding.bands import BANDS
from autolens_ml.simulate.finding.systems import COMPOUND, LENS, SHARES
from autolens_ml.training import finding, task
from autolens_ml.training.finding import TASK, Finding, grid_of
from autolens_ml.training.preset import Preset, preset_from, presets
from autolens_ml.training.train import Hardware, train
from tests.finders import MIDDLE, FakePopulation, MiddleFinder, stored_finder

SHIPPED = {
    "ou-66-j": (OU66, 201_842),
    "ou-66-y": (OU66, 201_842),
    "ou-66-h": (OU66, 201_842),
    "ou-66-jyh": (OU66, 202_742),
    "ou-66": (OU66, 203_192),
    "ou-200-vis": (OU200, 327_882),
    "ou-200": (OU200, 331_632),
    "finder-vis": (DihedralFinder, None),
    "finder-euclid": (DihedralFinder, None),
}
SMALL = {
    "name": "small",
    "description": "For tests.",
    "task": TASK,
    "data": {"bands": ["J", "H"], "shape": [66, 66], "pixel_scale": 0.3},
    "network": {"class": "MiddleFinder"},
    "training": {
        "n_training": 70,
        "n_validation": 10,
        "n_steps": 4,
        "batch_size": 4,
        "validate_every": 2,
    },
}


@pytest.fixture(autouse=True)
def known(monkeypatch):
    """All that finding needs is registered, and nothing is simulated."""
    monkeypatch.setitem(architectures.ARCHITECTURES, *MIDDLE)
    monkeypatch.setitem(task.TASKS, TASK, ("autolens_ml.training.finding", "Finding"))
    monkeypatch.setattr(finding, "FindingPopulation", FakePopulation)


def preset(**changes):
    values = json.loads(json.dumps(SMALL))
    for section, entries in changes.items():
        values[section] = values[section] | entries
    return Preset.from_dict(values)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_presets_make_their_networks(name):
    cls, number = SHIPPED[name]
    own = Finding(preset_from(name))
    network = own.network()
    assert type(network) is cls and network.n_bands == len(own.bands)
    if number is not None:
        assert sum(p.numel() for p in network.parameters()) == number
    images = torch.randn(1, len(own.bands), *own.shape)
    assert network(images).shape == (1, 2)
    fields = own.card_fields()
    assert fields["bands"] == list(own.bands)
    assert fields["inputs"]["shape"] == list(own.shape)


def test_shipped_presets_are_listed_and_share_their_sets():
    assert set(SHIPPED) <= set(presets())
    shared = {
        (p.seed, p.training.n_training, p.training.n_validation)
        for p in (preset_from(name) for name in SHIPPED)
    }
    assert len(shared) == 1
    # The order of the published networks.
    assert preset_from("ou-66").data["bands"] == ["J", "Y", "H", "VIS"]


def test_a_network_is_trained_stored_and_calibrated(tmp_path):
    sets = tmp_path / "sets"
    card = train(preset(), tmp_path / "out", Hardware("cpu", 1, precision="32-true"), sets=sets)
    assert card.task == TASK and card.bands == ["J", "H"]
    assert (sets / "finding" / "training" / "VIS.npy").is_file()
    network = architectures.stored_network(card)
    assert isinstance(network, MiddleFinder)
    # What tells lenses apart here does so without fail: the colder the better.
    assert 0.0 < float(network.temperature) < 1.0
    assert grid_of(card) == (("J", "H"), (66, 66), 0.3)


def test_sets_with_compound_lenses_are_sets_of_their_own(monkeypatch, tmp_path):
    drawn = []

    class Recorded(FakePopulation):
        def __init__(self, shares=None, bands=tuple(BANDS)):
            super().__init__(bands=bands)
            drawn.append(shares)

    monkeypatch.setattr(finding, "FindingPopulation", Recorded)
    for compound in (0.0, 0.2):
        Finding(preset(data={"compound": compound})).sources(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"finding", "finding-compound-0.2"}
    ordinary, others = drawn
    assert ordinary is None and sum(others.values()) == pytest.approx(1.0)
    assert [others[kind] for kind in (LENS, *COMPOUND)] == pytest.approx([0.3, 0.1, 0.1])
    assert others["spiral"] == SHARES["spiral"]


def test_the_loss_is_cross_entropy():
    own = Finding(preset())
    network = own.network()
    batch = own._source(next(FakePopulation().batches(8, 0)), augment=False).batch_from(
        np.arange(8), np.random.default_rng(0)
    )
    p = network(batch.images).softmax(1)[:, 1]
    y = batch.labels.float()
    expected = -(y * p.log() + (1.0 - y) * (1.0 - p).log()).mean()
    torch.testing.assert_close(own.loss(network, batch), expected)


def test_evaluation(tmp_path):
    card = stored_finder(tmp_path, ("J",))
    said = []
    found = Finding.evaluate(card, 200, 1, said.append)
    metrics = found.card.metrics
    # 1000 sigma are lenses to this network, 250 are none; compound arcs are hidden from it.
    assert metrics["auc"]["value"] == metrics["f1"]["value"] == 1.0
    assert metrics["recall_double_ring"]["value"] == 1.0
    assert metrics["recall_compound_arcs"] == {
        **metrics["recall_compound_arcs"],
        "value": 0.0,
        "n": 20,
    }
    assert metrics["stamps_per_second"]["value"] > 0.0
    assert all("evaluate middle --n 200 --seed 1" in m["command"] for m in metrics.values())
    assert len(found.kinds) == 200 and "AUC 1.000" in found.verdict
    assert json.loads(json.dumps(found.as_dict()))["roc"]["true_positive_rate"][-1] == 1.0
    for name, plot in found.plots.items():
        assert plot(tmp_path / f"{name}.png").stat().st_size > 5000
    assert any("double-ring" in line for line in said)


def test_the_same_systems_are_seen_by_all_networks(tmp_path):
    seen = []
    for bands in (("J",), ("J", "H")):
        card = stored_finder(tmp_path / str(len(bands)), bands)
        seen.append(Finding.evaluate(card, 100, 2).kinds)
    assert np.array_equal(*seen)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": {"bands": ["K"]}}, "choose from"),
        ({"data": {"bands": "J"}}, "list of names"),
        ({"data": {"shape": [66]}}, "two numbers"),
        ({"data": {"pixel_scale": 0.0}}, "above 0"),
        ({"data": {"seeing": 1.0}}, "unknown seeing"),
        ({"data": {"compound": 0.5}}, "from 0 to below 0.5"),
        ({"data": {"compound": "some"}}, "from 0 to below 0.5"),
    ],
)
def test_bad_data_are_refused(changes, words):
    with pytest.raises(OptionError, match=words):
        Finding(preset(**changes))


def test_data_have_to_be_whole():
    values = {**SMALL, "data": {"bands": ["J"]}}
    with pytest.raises(OptionError, match="needs shape, pixel_scale"):
        Finding(Preset.from_dict(values))


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ({"class": "OU99"}, "no network class"),
        ({"class": "PosteriorNetwork"}, "finds no lenses"),
        ({"class": "OU66", "depth": 3}, "depth"),
        ({"class": "OU200"}, r"\[200, 200\]"),
        ({"class": "OU66", "normalisation": "none"}, "choose"),
    ],
)
def test_bad_networks_are_refused(network, words):
    values = {**SMALL, "network": network}
    with pytest.raises(OptionError, match=words):
        Finding(Preset.from_dict(values)).network()


def test_a_card_that_says_nothing_of_images_is_refused(tmp_path):
    card = stored_finder(tmp_path)
    for changes in ({"inputs": {}}, {"bands": ["K"]}):
        with pytest.raises(NetworkError, match="not those of a finder"):
            grid_of(replace(card, **changes))


def test_finders_are_finders():
    assert issubclass(MiddleFinder, Finder) and list(BANDS) == ["VIS", "Y", "J", "H"]
