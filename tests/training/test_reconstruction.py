"""The task of reconstruction: it learns, and its figures of merit can be bad."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from autolens_ml.exceptions import NetworkError, OptionError
from autolens_ml.inference.reconstruction import load_reconstructor
from autolens_ml.networks.checkpoint import Card
from autolens_ml.training import reconstruction_accuracy, reconstruction_sets
from autolens_ml.training.evaluate import store
from autolens_ml.training.preset import Preset, preset_from
from autolens_ml.training.reconstruction import Reconstruction
from autolens_ml.training.reconstruction_accuracy import ReconstructionTest, measured
from autolens_ml.training.task import task_of
from autolens_ml.training.train import Hardware, train

SIZE = 16
HARDWARE = Hardware(accelerator="cpu", devices=1, precision="32-true")
DATA = {
    "loop": {
        "shape": [SIZE, SIZE],
        "pixel_scale": 0.2,
        "source_shape": [SIZE, SIZE],
        "source_pixel_scale": 0.12,
        "over_sampling": 1,
        "n_steps": 3,
        "start_radius": 0.7,
    },
    "lenses": {"einstein_radius": [0.5, 0.9], "offset": 0.05, "texture": [0.0, 0.0]},
    "galaxies": {"smooth": 1.0},
    "sources": {"half_light_radius": [0.15, 0.25], "offset": 0.2},
    "observations": {"psf_fwhm": [0.25, 0.5], "psf_size": 7, "signal_to_noise": [10, 30]},
}
NETWORK = {"widths": [8, 8], "patch": 2, "n_groups": 4}


def preset(**changes) -> Preset:
    training = {
        "n_training": 64,
        "n_validation": 32,
        "n_steps": 40,
        "batch_size": 16,
        "validate_every": 20,
        "ema_decay": 0.8,
        "learning_rate": 5e-3,
    }
    return Preset.from_dict(
        {
            "name": "small",
            "description": "Small reconstructions.",
            "task": "reconstruction",
            "data": {**DATA, **changes.get("data", {})},
            "network": {**NETWORK, **changes.get("network", {})},
            "training": {**training, **changes.get("training", {})},
        }
    )


@pytest.fixture(scope="module", autouse=True)
def few_galaxies():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reconstruction_sets, "_N_DRAWN", 20)
        # To prepare the real ones takes ten seconds.
        patch.setattr(reconstruction_accuracy, "_GALAXIES", {"clumpy": 1.0})
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("trained")


@pytest.fixture(scope="module")
def card(folder) -> Card:
    return train(preset(), folder, HARDWARE)


@pytest.fixture(scope="module")
def accuracy(card):
    return measured(card, n=8, seed=1)


def test_training_learns(folder, card):
    job = Reconstruction(preset())
    validation = job.sources(folder)["validation"]
    batch = validation.batch_from(np.arange(32), np.random.default_rng(1))
    with torch.no_grad():
        losses = [
            float(job.loss(network, batch))
            for network in (job.network(), load_reconstructor(card.path)._network)
        ]
    assert losses[1] < 0.9 * losses[0]
    assert card.inputs["shape"] == [SIZE, SIZE] and card.outputs["loop"]["n_steps"] == 3
    assert load_reconstructor(card.path).n_steps == 3


def test_batches_are_turned_in_training_and_have_fresh_noise(folder, card):
    sources = Reconstruction(preset()).sources(folder)
    rows = np.arange(16)
    for name, source in sources.items():
        one, same, other = (source.batch_from(rows, np.random.default_rng(s)) for s in (1, 1, 2))
        assert torch.equal(one.image, same.image) and not torch.equal(one.image, other.image)
        stays = torch.allclose(one.convergence, other.convergence)
        assert stays is (name == "validation")
        # Truth is in the units of the data.
        assert 0.3 < float(one.source.amax(dim=(1, 2)).median()) < 10.0
    batch = sources["validation"].batch_from(rows, np.random.default_rng(1))
    assert len(batch.observed) == 16 and batch.truth.shear.shape == (16, 2)


def test_the_loss_is_the_mean_of_those_of_the_steps(folder, card):
    job = Reconstruction(preset())
    batch = job.sources(folder)["validation"].batch_from(np.arange(8), np.random.default_rng(1))
    network = load_reconstructor(card.path)._network
    states = job.loop.unroll(network, batch.observed)
    expected = np.mean([job.weights.of(s, batch.truth).mean().item() for s in states])
    assert float(job.loss(network, batch).detach()) == pytest.approx(expected, rel=1e-5)


def test_figures_of_merit_are_of_the_same_lenses_every_time(accuracy, card):
    _, _, observed, truth = reconstruction_accuracy.unseen_lenses(card, 8, 1, lambda line: None)
    assert np.allclose(truth.source, accuracy.tested.true_source) and len(observed) == 8


def test_figures_of_merit(card, accuracy):
    metrics = accuracy.card.metrics
    assert list(metrics)[:2] == ["chi_squared", "einstein_radius_rms"]
    for name, metric in metrics.items():
        assert metric["low"] <= metric["value"] <= metric["high"], name
        assert "autolens-ml evaluate small --n 8 --seed 1" in metric["command"]
    tested = accuracy.tested
    assert metrics["chi_squared"]["value"] == np.median(tested.chi_squared[:, -1])
    assert 0.9 < metrics["chi_squared_of_truth"]["value"] < metrics["chi_squared"]["value"]
    before, after = (each.chi_squared[:, -1] for each in (tested, accuracy.refined))
    assert (after <= before * (1.0 + 1e-4)).all() and np.median(after) < 0.9 * np.median(before)
    assert metrics["refined_chi_squared"]["value"] == np.median(after)
    assert "Einstein radii are off" in accuracy.verdict
    assert len(accuracy.as_dict()["chi_squared_by_step"]) == 3


def test_test_lenses_are_of_another_family(card):
    *_, learned = Reconstruction(preset()).population._samplers
    _, _, observed, truth = reconstruction_accuracy.unseen_lenses(card, 8, 1, lambda line: None)
    _, _, other, _ = reconstruction_accuracy.unseen_lenses(card, 8, 2, lambda line: None)
    assert not torch.equal(observed.image, other.image)
    assert not any(name.startswith("clumpy") for name in learned.libraries[0].names)
    # What sources are is in the units of the data.
    assert 0.5 < truth.source.max() < 10.0


def test_report_and_figures_are_stored(accuracy, tmp_path):
    written = store(accuracy, tmp_path / "report")
    assert [path.name for path in written] == ["evaluation.json", "accuracy.png"]


def comparison(source_error=0.0, stretch=1.0, n=20):
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:24, :24] - 11.5
    kappa = np.repeat((5.0 / np.sqrt(x**2 + y**2 + 0.3))[None], n, axis=0)
    source = rng.uniform(size=(n, 24, 24))
    return ReconstructionTest(
        source=source + source_error * rng.normal(size=source.shape),
        convergence=stretch * kappa,
        shear=np.zeros((n, 2)),
        true_source=source,
        true_convergence=kappa,
        true_shear=np.full((n, 2), 0.01),
        chi_squared=np.linspace(0.9, 1.2, n)[:, None],
        chi_squared_of_truth=np.ones(n),
        pixel_scale=0.1,
        source_pixel_scale=0.05,
    )


def test_known_errors_come_out_as_what_they_are():
    rng = np.random.default_rng(1)
    right = reconstruction_accuracy._metrics(comparison(), rng)
    assert right["einstein_radius_rms"]["value"] == 0.0
    assert right["source_correlation"]["value"] == pytest.approx(1.0)
    assert right["shear_rms"]["value"] == pytest.approx(0.01)
    shares = np.linspace(0.9, 1.2, 20)
    assert right["chi_squared_in_range"]["value"] == np.mean((shares >= 0.95) & (shares <= 1.1))
    wrong = reconstruction_accuracy._metrics(comparison(source_error=0.5, stretch=1.1), rng)
    # The Einstein radius of an isothermal sphere is as its convergence.
    truth, found = comparison(stretch=1.1).einstein_radii
    assert np.allclose(found / truth, 1.1, atol=0.02)
    assert wrong["einstein_radius_rms"]["value"] == pytest.approx(0.1 * truth[0], rel=0.15)
    assert wrong["source_correlation"]["value"] < 0.7


def test_cards_that_do_not_say_what_was_learned_are_refused(card):
    values = card.as_dict()
    del values["outputs"]["data"]
    with pytest.raises(NetworkError, match="does not say what was learned from"):
        measured(Card.from_dict(values, card.folder), n=2)


@pytest.mark.parametrize(("name", "n_parameters"), [("rim-small", 1.76e6), ("rim-64", 6.1e6)])
def test_shipped_presets_are_of_this_task(name, n_parameters):
    job = task_of(preset_from(name))
    with torch.device("meta"):
        network = job.network()
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(n_parameters, rel=0.05)
    fields = job.card_fields()
    assert fields["inputs"]["pixel_scale"] == 0.1 and fields["outputs"]["loop"]["n_steps"] == 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"mass": {}}}, "unknown mass"),
        ({"data": {"loop": {"n_steps": 0}}}, "n_steps must be"),
        ({"data": {"loss": {"source": -1.0}}}, "source must be 0 or more"),
        ({"network": {"n_inputs": 3}}, "n_inputs follow from the loop"),
        ({"network": {"layers": 3}}, "network: .*layers"),
    ],
)
def test_bad_presets_are_refused(changes, message):
    with pytest.raises(OptionError, match=message):
        Reconstruction(preset(**changes)).network()


def test_presets_need_lenses():
    without = {name: value for name, value in DATA.items() if name != "lenses"}
    with pytest.raises(OptionError, match="needs lenses"):
        Reconstruction(replace(preset(), data=without))
