"""Autoencoders as a task: annealing, training to the end, and figures of merit that can be bad."""

import numpy as np
import pytest
import torch

from autolens_ml.exceptions import NetworkError, OptionError
from autolens_ml.networks import architectures
from autolens_ml.networks.architectures import stored_network
from autolens_ml.networks.checkpoint import Card
from autolens_ml.profiles.decoder import decoder_from
from autolens_ml.training import map_accuracy, map_sets, task
from autolens_ml.training.autoencoding import Autoencoding, MapBatch, Objectives
from autolens_ml.training.evaluate import evaluate, store
from autolens_ml.training.preset import Preset, preset_from
from autolens_ml.training.train import Hardware, train

SIZE = 16
NETWORK = {
    "size": SIZE,
    "latent_dim": 4,
    "disc_radius": 0.4,
    "n_hidden": 16,
    "widths": [4, 4],
    "encoder_widths": [8, 16],
}
HARDWARE = Hardware(accelerator="cpu", devices=1, precision="32-true")


def preset(**changes) -> Preset:
    values = {"name": "small", "description": "Small lenses.", "task": "autoencoder"}
    data = {"lenses": {"subhalo_fraction": [0.0, 0.0], "texture": [0.0, 0.0]}}
    training = {
        "n_training": 192,
        "n_validation": 64,
        "n_steps": 150,
        "batch_size": 32,
        "validate_every": 75,
        "ema_decay": 0.9,
        "learning_rate": 1e-2,
    }
    return Preset.from_dict(
        {
            **values,
            "data": {**data, **changes.get("data", {})},
            "network": {**NETWORK, **changes.get("network", {})},
            "training": {**training, **changes.get("training", {})},
        }
    )


@pytest.fixture(scope="module", autouse=True)
def known():
    """The task and its network, which are known by name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(
            task.TASKS, "autoencoder", ("autolens_ml.training.autoencoding", "Autoencoding")
        )
        patch.setitem(
            architectures.ARCHITECTURES, "Autoencoder", "autolens_ml.networks.autoencoder"
        )
        patch.setattr(map_sets, "_N_DRAWN", 40)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of a training to the end."""
    folder = tmp_path_factory.mktemp("trained")
    train(preset(), folder, HARDWARE)
    return folder


@pytest.fixture(scope="module")
def card(folder) -> Card:
    return train(preset(), folder, HARDWARE)


@pytest.fixture(scope="module")
def evaluation(card):
    return evaluate(card, n=200, seed=1)


def batch(n=8):
    generator = torch.Generator().manual_seed(1)
    maps = 1.0 + torch.rand(n, SIZE, SIZE, generator=generator)
    return MapBatch(maps, torch.randn(n, 4, generator=generator))


def test_batches_are_varied_in_training_and_as_they_are_in_validation(tmp_path):
    sources = Autoencoding(preset()).sources(tmp_path)
    assert (len(sources["training"]), len(sources["validation"])) == (192, 64)
    rows, rng = np.arange(64), np.random.default_rng(1)
    learned, unseen = (sources[name].batch_from(rows, rng) for name in sources)
    assert torch.equal(unseen.maps, torch.from_numpy(sources["validation"].maps[:].astype("f4")))
    stored = torch.from_numpy(sources["training"].maps[:64].astype("f4"))
    assert not torch.equal(learned.maps, stored)
    assert torch.equal(learned.maps.flatten(1).sort(1)[0], stored.flatten(1).sort(1)[0])
    assert learned.draws.shape == (64, 4) and not torch.equal(learned.draws, unseen.draws)
    again = sources["validation"].batch_from(rows, np.random.default_rng(2))
    assert torch.equal(again.maps, unseen.maps)


def test_the_price_of_latents_rises_with_the_batches_that_were_learned_from():
    job = Autoencoding(preset(data={"objective": {"annealing": 0.04, "free_bits": 0.1}}))
    network = job.network()

    def expected(beta):
        return network.objective(batch().maps, batch().draws, beta, 0.1).loss.item()

    # 0.04 of 150 steps are six.
    losses = [job.loss(network.train(), batch()).item() for _ in range(8)]
    betas = [1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1.0, 1.0, 1.0]
    assert losses == pytest.approx([expected(beta) for beta in betas], rel=1e-5)
    assert losses[0] < losses[5]
    # Looks at the validation set are all the same, and do not count.
    assert job.loss(network.eval(), batch()).item() == pytest.approx(expected(1.0), rel=1e-5)
    assert int(network.n_batches) == 8


def test_making_a_task_leaves_the_random_state_alone():
    before = torch.random.get_rng_state()
    Autoencoding(preset())
    assert torch.equal(torch.random.get_rng_state(), before)


def test_training_learns_and_gives_latents_their_prior(folder, card):
    assert card.task == "autoencoder" and card.outputs["quantity"] == "convergence"
    assert card.outputs["latents"] == 4 and card.inputs["shape"] == [SIZE, SIZE]
    network = stored_network(card)
    assert int(network.n_batches) == 150
    job = Autoencoding(preset())
    sources = job.sources(folder)
    maps = torch.from_numpy(sources["validation"].maps.astype("f4"))
    with torch.no_grad():
        encoding = network.encode(maps)
        truth, decoded = network.normalised(maps), network.decode(encoding.mean)
    unexplained = (decoded - truth).square().mean() / (truth.mean(0) - truth).square().mean()
    assert unexplained < 0.5
    scatter = (encoding.mean.square() + encoding.log_variance.exp()).mean(0)
    torch.testing.assert_close(scatter, torch.ones(4), rtol=0.0, atol=0.4)


def test_the_decoder_is_a_profile(card):
    decoder = decoder_from(str(card.path), "convergence")
    latents = np.random.default_rng(1).normal(size=4)
    with torch.no_grad():
        given = torch.tensor(latents[None], dtype=torch.float32)
        expected = stored_network(card).decode(given)[0].numpy()
    assert np.allclose(decoder.map_from(latents), expected, rtol=1e-5, atol=0.0)


def test_figures_of_merit(card, evaluation):
    metrics = evaluation.card.metrics
    assert list(metrics)[:2] == ["error_in_noise", "relative_error"]
    assert set(metrics) == {
        "error_in_noise",
        "relative_error",
        "deflection_error",
        "divergence",
        "resolved_wavelength",
        "sample_power_error",
        "decodings_per_second",
    }
    for metric in metrics.values():
        assert metric["low"] <= metric["value"] <= metric["high"]
        assert metric["command"] == "autolens-ml evaluate small --n 200 --seed 1"
    tested = evaluation.tested
    with torch.no_grad():
        network = stored_network(card)
        truth = torch.from_numpy(tested.truth).float()
        decoded = network.decode(network.encode(truth).mean)
        residual = (decoded - truth) / network.noise(truth)
    rms = float(residual.square().mean().sqrt())
    assert metrics["error_in_noise"]["value"] == pytest.approx(rms, rel=1e-3)
    assert 0.0 < metrics["relative_error"]["value"] < 0.2
    # A lens of one Einstein radius deflects by about one.
    assert 0.0 < metrics["deflection_error"]["value"] < 0.1
    assert metrics["resolved_wavelength"]["value"] < 2.0
    assert "errors of" in evaluation.verdict
    report = evaluation.as_dict()
    assert len(report["power_of_samples"]["value"]) == SIZE // 2
    assert np.allclose(tested.samples.shape, tested.truth.shape)


def test_test_maps_are_fresh_and_depend_on_the_seed(card, evaluation, folder):
    learned = np.load(folder / "training" / "maps.npy").astype(float)
    tested = evaluation.tested.truth
    pixels = learned / learned.mean(axis=(1, 2), keepdims=True)
    for one in tested[:20] / tested[:20].mean(axis=(1, 2), keepdims=True):
        assert np.abs(pixels - one).mean(axis=(1, 2)).min() > 1e-3
    same, other = (evaluate(card, n=20, seed=seed).tested for seed in (1, 2))
    assert np.array_equal(same.truth, tested[:20])
    assert not np.allclose(other.truth, same.truth)


def comparison(truth, decoded, samples):
    n = len(truth)
    return map_accuracy.MapComparison(
        truth=truth,
        decoded=decoded,
        noise=np.full(truth.shape, 0.1),
        samples=samples,
        kind=np.zeros(n, dtype=int),
        divergence=np.full(n, 3.0),
        pixel=0.25,
    )


def metrics_of(truth, decoded, samples):
    population = map_sets.population_of({"lenses": {"texture": [0, 0]}}, SIZE, 0.5, seed=1)
    found = map_accuracy._metrics(population, comparison(truth, decoded, samples), seed=1)
    return {name: metric["value"] for name, metric in found.items()}


def test_bad_reconstructions_and_samples_look_bad():
    """Known errors come out as what they are."""
    rng = np.random.default_rng(1)
    truth, others = 5.0 + rng.normal(size=(2, 100, SIZE, SIZE))
    perfect = metrics_of(truth, truth, others)
    assert perfect["error_in_noise"] == perfect["deflection_error"] == 0.0
    assert perfect["divergence"] == 3.0
    # The shortest wave that 16 pixels of a quarter have along an axis.
    assert perfect["resolved_wavelength"] == pytest.approx(0.5, rel=0.1)
    assert perfect["sample_power_error"] < 0.05
    noisy = metrics_of(truth, truth + 0.2 * rng.normal(size=truth.shape), others)
    assert noisy["error_in_noise"] == pytest.approx(2.0, rel=0.02)
    assert noisy["relative_error"] == pytest.approx(0.2 / np.sqrt(26.0), rel=0.02)
    bright = metrics_of(truth, truth, 10.0 * others)
    assert bright["sample_power_error"] == pytest.approx(2.0, rel=0.02)
    unrelated = metrics_of(truth, others, others)
    assert unrelated["resolved_wavelength"] > 3.0


def test_deflections_of_a_wrong_sheet_are_those_of_a_sheet():
    """A sheet of convergence 0.01 deflects by 0.01 of the radius, from the middle."""
    truth = np.ones((3, 64, 64))
    tested = comparison(truth, truth + 0.01, truth)
    errors = map_accuracy._deflection_errors(tested)
    # The mean square radius of a disc is half the square of its own.
    assert errors == pytest.approx(np.full(3, 0.01 * 1.5 / np.sqrt(2.0)), rel=0.03)


def test_report_and_figures_are_stored(evaluation, tmp_path):
    written = store(evaluation, tmp_path / "report")
    assert [path.name for path in written] == [
        "evaluation.json",
        "reconstructions.png",
        "samples.png",
        "spectra.png",
    ]
    assert all(path.stat().st_size > 2000 for path in written)


def test_cards_that_do_not_say_what_was_learned_are_refused(card):
    values = card.as_dict()
    del values["outputs"]["data"]
    silent = Card.from_dict(values, card.folder)
    with pytest.raises(NetworkError, match="does not say what was learned from"):
        evaluate(silent, n=4)


@pytest.mark.parametrize("name", ["source-vae", "convergence-vae"])
def test_shipped_presets_are_of_this_task(name):
    job = Autoencoding(preset_from(name))
    network = job.network()
    assert network.config["latent_dim"] == 16 and network.config["size"] == 64
    assert sum(p.numel() for p in network.decoder.parameters()) < 300_000
    fields = job.card_fields()
    assert fields["outputs"]["quantity"] == job.population.quantity


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"galaxys": {"smooth": 1.0}}}, "unknown galaxys"),
        ({"data": {"objective": 3}}, "objective must be a mapping"),
        ({"data": {"objective": {"beta": 4.0}}}, "objective has beta"),
        ({"data": {"objective": {"annealing": 1.5}}}, "annealing must be a number from 0 to 1"),
        ({"data": {"objective": {"free_bits": "no"}}}, "free_bits must be a number"),
        ({"network": {"layers": 3}}, "network: .*layers"),
        ({"network": {"latent_dim": 0}}, "latent_dim must be 1 to 32"),
    ],
)
def test_bad_presets_are_refused(changes, message):
    with pytest.raises(OptionError, match=message):
        Autoencoding(preset(**changes))


def test_objectives_start_as_said():
    assert (Objectives().annealing, Objectives().free_bits) == (0.3, 0.0)
