"""Training: to the end, through interruptions, and refused when it could not end well."""

import csv
import json
import logging
import math
import os
import shutil
import signal
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from autolens_ml.exceptions import DataError, NetworkError, OptionError
from autolens_ml.networks.architectures import stored_network
from autolens_ml.networks.checkpoint import load_state, save_card
from autolens_ml.simulate.description import model_from_description
from autolens_ml.training import train as module
from autolens_ml.training.loop import TaskData
from autolens_ml.training.stored import space_from
from autolens_ml.training.task import task_of
from autolens_ml.training.train import Hardware, train
from tests.training.small import INSTRUMENT, LENS, SOURCE, preset

ROOT = Path(__file__).resolve().parents[2]
HARDWARE = Hardware(accelerator="cpu", devices=1, precision="32-true")


class Killed(BaseException):
    """What nothing catches."""


def trained(folder, made=None, hardware=HARDWARE, say=lambda line: None):
    return train(made or preset(), folder, hardware, say)


def checkpoint(path):
    return torch.load(path, weights_only=True)


def logged_losses(folder):
    """Of every look at the validation set."""
    with open(folder / "logs/version_0/metrics.csv") as file:
        losses = [row["validation_loss"] for row in csv.DictReader(file)]
    return [float(loss) for loss in losses if loss]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of an unbroken training."""
    folder = tmp_path_factory.mktemp("whole")
    trained(folder)
    return folder


@pytest.fixture(scope="module")
def sets(whole, tmp_path_factory):
    """A folder with the sets alone."""
    folder = tmp_path_factory.mktemp("sets")
    for name in ("training", "validation"):
        shutil.copytree(whole / name, folder / name)
    return folder


@pytest.fixture
def folder(sets, tmp_path):
    """A folder of its own for a training, whose sets are there."""
    return shutil.copytree(sets, tmp_path / "training-of-its-own")


def killed_after(monkeypatch, folder, n, made=None):
    """Train until the nth checkpoint is written."""
    save, written = module._Looks._save, []

    def saved(trainer, path):
        save(trainer, path)
        written.append(path)
        if len(written) == n:
            raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(module._Looks, "_save", staticmethod(saved))
        trained(folder, made)


def assert_same(folder, expected):
    """Bit by bit: weights, averages, moments of the optimiser, and what is stored."""
    stored, expected_stored = (load_state(f / "small.json") for f in (folder, expected))
    for name, tensor in expected_stored.items():
        assert torch.equal(stored[name], tensor), name
    last, expected_last = (checkpoint(f / "checkpoints/last.ckpt") for f in (folder, expected))
    assert last["global_step"] == expected_last["global_step"]
    for part in ("state_dict", "current_model_state"):
        for name, tensor in expected_last[part].items():
            assert torch.equal(last[part][name], tensor), name
    moments, expected_moments = (c["optimizer_states"][0]["state"] for c in (last, expected_last))
    for i, state in expected_moments.items():
        assert all(torch.equal(moments[i][name], value) for name, value in state.items())


# Each look writes the best, when it is, and the last; two looks and the end.
@pytest.mark.parametrize("n", [1, 2, 3, 4, 6])
def test_resumed_is_unbroken(whole, folder, monkeypatch, n):
    killed_after(monkeypatch, folder, n)
    assert not (folder / "small.json").exists()
    lines = []
    trained(folder, say=lines.append)
    assert_same(folder, whole)
    # It went on from the last look, and did not start again.
    assert len([line for line in lines if line.startswith("step")]) == 3 - n // 2


def test_killed_for_good(whole, tmp_path):
    environment = {**os.environ, "PYAUTO_SKIP_WORKSPACE_VERSION_CHECK": "1"}
    call = [sys.executable, "-m", "tests.training.interrupted", str(tmp_path)]
    for n, code in ((2, -signal.SIGKILL), (0, 0)):
        done = subprocess.run(
            [*call, str(n)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stderr[-4000:]
        assert (tmp_path / "small.json").exists() == (code == 0)
    assert_same(tmp_path, whole)
    # Nothing is said that is not meant for the user.
    noise = [line for line in done.stderr.splitlines() if "lightning" in line.lower()]
    assert noise == [] and "GPU" not in done.stderr + done.stdout


def test_a_moved_folder_goes_on(whole, folder, monkeypatch, tmp_path):
    killed_after(monkeypatch, folder, 4)
    moved = folder.rename(tmp_path / "moved")
    trained(moved)
    assert_same(moved, whole)
    assert not folder.exists()


def test_what_is_stored_is_the_average(folder, monkeypatch):
    """At every look the average is a step of the running mean; the best is what is stored."""
    made = preset(training={"validate_every": 1, "n_steps": 6, "ema_decay": 0.75})
    save, states = module._Looks._save, []

    def saved(trainer, path):
        save(trainer, path)
        if path.name == "last.ckpt":
            states.append(checkpoint(path))

    monkeypatch.setattr(module._Looks, "_save", staticmethod(saved))
    card = trained(folder, made)
    assert len(states) == 6
    for name, tensor in states[0]["state_dict"].items():
        average = states[0]["current_model_state"][name]
        torch.testing.assert_close(tensor, average)
        for state in states[1:]:
            average = 0.75 * average + 0.25 * state["current_model_state"][name]
            torch.testing.assert_close(state["state_dict"][name], average, rtol=1e-5, atol=1e-7)
    best = checkpoint(folder / "checkpoints/best.ckpt")["state_dict"]
    for name, tensor in load_state(card).items():
        if not name.startswith(("feature", "typical")):
            assert torch.equal(tensor, best[f"network.{name}"].half().float())


def validation_loss(made, folder, state):
    task = task_of(made)
    data = TaskData(task, folder)
    data.setup("fit")
    network = task.network()
    network.load_state_dict({k.removeprefix("network."): v for k, v in state.items()})
    with torch.no_grad():
        losses = [task.loss(network, batch) * len(batch.images) for batch in data.val_dataloader()]
    return float(sum(losses)) / len(data.validation)


def test_the_average_is_what_is_validated(whole):
    last = checkpoint(whole / "checkpoints/last.ckpt")
    logged = logged_losses(whole)
    assert len(logged) == 3
    expected = validation_loss(preset(), whole, last["state_dict"])
    assert logged[-1] == pytest.approx(expected, abs=1e-5)
    current = validation_loss(preset(), whole, last["current_model_state"])
    assert logged[-1] != pytest.approx(current, abs=1e-5)
    best = checkpoint(whole / "checkpoints/best.ckpt")
    assert min(logged) == pytest.approx(
        validation_loss(preset(), whole, best["state_dict"]), abs=1e-5
    )


def test_the_best_look_is_what_is_stored(folder):
    """Also when the last was worse."""
    wild = {"learning_rate": 0.1, "warm_up": 0.0, "ema_decay": 0.0, "n_steps": 12}
    made = preset(training={**wild, "validate_every": 2, "patience": 1})
    card = trained(folder, made)
    losses = logged_losses(folder)
    assert min(losses) < losses[-1] - 0.1
    state = {k: v for k, v in load_state(card).items() if not k.startswith(("feature", "typical"))}
    blank = checkpoint(folder / "checkpoints/last.ckpt")["state_dict"]
    stored = {**{k.removeprefix("network."): v for k, v in blank.items()}, **state}
    assert validation_loss(made, folder, stored) == pytest.approx(min(losses), abs=0.02)


@pytest.mark.parametrize("decay", [0.9, 0.9995])
def test_indices_are_not_averaged(folder, decay):
    """Some decays would round them to others, and the density to one of another shape."""
    made = preset(training={"ema_decay": decay, "n_steps": 8})
    card = trained(folder, made)
    (logged,) = logged_losses(folder)
    state = checkpoint(folder / "checkpoints/best.ckpt")["state_dict"]
    assert logged == pytest.approx(validation_loss(made, folder, state), abs=1e-5)
    assert card.training["steps"] == 8


def test_what_the_card_says(whole):
    card = trained(whole)
    assert card.name == "small" and card.task == "lens-parameters" and card.metrics == {}
    assert card.outputs["parameters"][:3] == [
        "galaxies.lens.mass.centre.centre_0",
        "galaxies.lens.mass.centre.centre_1",
        "galaxies.lens.mass.einstein_radius",
    ]
    assert card.inputs == {
        "shape": [16, 16],
        "pixel_scale": 0.25,
        "units": "noise of an empty pixel",
    }
    assert card.training["steps"] == 20 and card.training["samples"] == 64
    assert "CPU cores" in card.training["hardware"] and card.training["hours"] >= 0.0
    network, space = stored_network(card), space_from(card)
    assert space.dim == network.config["dim"] == 5
    assert sum(p.numel() for p in network.parameters()) == card.n_parameters
    assert network.typical_distance < 1e3


def test_trained_already(whole):
    card = trained(whole)
    metric = {"value": 0.1, "low": 0.1, "high": 0.1, "n": 3, "command": "none"}
    save_card(card.with_metrics({"error": metric}))
    lines = []
    again = trained(whole, say=lines.append)
    assert "error" in again.metrics and again.weights.read_bytes() == card.weights.read_bytes()
    assert len(lines) == 1 and "trained already" in lines[0]
    # Weights that are damaged are made again, of the checkpoint.
    content = card.weights.read_bytes()
    card.weights.write_bytes(content[:-1])
    trained(whole)
    assert card.weights.read_bytes() == content


def test_other_presets_are_refused(whole, folder):
    with pytest.raises(OptionError, match=r"holds the training of another preset.*delete it"):
        trained(whole, preset(seed=3))
    (folder / "preset.json").write_text("{")
    with pytest.raises(OptionError, match="another preset"):
        trained(folder)


def test_a_training_begun_before_an_option_existed_goes_on(whole):
    card, file = trained(whole), whole / "preset.json"
    older = json.loads(file.read_text())
    del older["training"]["n_cycles"]
    file.write_text(json.dumps(older))
    assert trained(whole).sha256 == card.sha256
    with pytest.raises(OptionError, match="another preset"):
        trained(whole, preset(training={"n_cycles": 2}))


def of_living_model(description):
    """The preset whose model is described by autofit."""
    model = model_from_description(description)
    data = {"population": {"instrument": INSTRUMENT, "noise_units": True, "model": model.dict()}}
    return preset(data=data)


def test_the_same_model_is_no_other_preset_in_another_session(tmp_path):
    description = {"lens": LENS, "source": SOURCE}
    first, again = of_living_model(description), of_living_model(description)
    assert first.data != again.data  # autofit has counted on
    card = trained(tmp_path, first)
    assert trained(tmp_path, again).sha256 == card.sha256
    other = {**LENS, "mass": {**LENS["mass"], "einstein_radius": {"uniform": [0.8, 1.7]}}}
    apart = {**LENS, "bulge": {**LENS["bulge"], "centre": {"gaussian": [0.0, 0.1]}}}
    for changed in (other, apart):
        with pytest.raises(OptionError, match="another preset"):
            trained(tmp_path, of_living_model({"lens": changed, "source": SOURCE}))


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"data": {"targets": ["galaxies.lens.mas"]}}, OptionError, "did you mean"),
        ({"network": {"head": "spline"}}, OptionError, "head 'spline'"),
        ({"network": {"dim": 3}}, OptionError, "network:.*'dim'"),
        ({"network": {"backbone_options": {"fold": 3}}}, OptionError, "fold must divide.*16 x 16"),
        ({"initial": "no-such-network"}, NetworkError, "no network 'no-such-network'"),
        ({"name": "two words"}, NetworkError, "card.name"),
        ({"description": "two\nlines"}, NetworkError, "card.description"),
    ],
)
def test_bad_presets_claim_no_folder(changes, error, match, tmp_path):
    with pytest.raises(error, match=match) as raised:
        trained(tmp_path / "new", preset(**changes))
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"accelerator": "abacus"},
        {"precision": "half-baked"},
        {"devices": 0},
        pytest.param(
            {"accelerator": "gpu"},
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
    ],
)
def test_hardware_that_is_not_there(changes, folder):
    with pytest.raises(OptionError, match=r"^training: ") as raised:
        trained(folder, hardware=replace(HARDWARE, **changes))
    assert "\n" not in str(raised.value)


def test_tensorboard_that_is_not_installed(folder, monkeypatch):
    def missing(*arguments, **options):
        raise ModuleNotFoundError("Neither `tensorboard` nor `tensorboardX` is available.")

    monkeypatch.setattr(module, "TensorBoardLogger", missing)
    with pytest.raises(OptionError, match="pip install tensorboard"):
        trained(folder, hardware=replace(HARDWARE, tensorboard=True))


def test_a_loss_that_is_never_finite(folder):
    made = preset(training={"learning_rate": 1e30, "warm_up": 0.0, "gradient_clip": 0.0})
    with pytest.raises(OptionError, match="never finite; set a lower learning_rate"):
        trained(folder, made)
    assert not (folder / "small.json").exists()


def test_trained_further(whole, folder, tmp_path):
    """From the weights of another network, of the same architecture."""
    first = trained(whole)
    made = preset(
        name="further", initial=str(first.path), training={"n_steps": 1, "learning_rate": 0.0}
    )
    card = trained(folder, made)
    state, expected = load_state(card), load_state(first)
    weights = [name for name in state if not name.startswith(("feature", "typical"))]
    assert all(torch.equal(state[name], expected[name]) for name in weights)
    assert card.training["initial"]["sha256"] == first.sha256
    wider = replace(made, network={**made.network, "head_options": {"n_components": 3}})
    with pytest.raises(OptionError, match="weights of small do not fit"):
        trained(tmp_path / "wider", wider)


def test_patience(folder):
    """Without a gain training ends; called again it does not start to learn anew."""
    made = preset(
        training={"learning_rate": 0.0, "patience": 2, "validate_every": 2, "n_steps": 40}
    )
    # One look is a gain, two are in vain.
    assert trained(folder, made).training["steps"] == 6
    (folder / "small.json").unlink()
    assert trained(folder, made).training["steps"] == 6


def test_nothing_global_is_changed(folder):
    loggers = [logging.getLogger(f"lightning.{name}") for name in ("pytorch", "fabric")]
    levels, filters = [logger.level for logger in loggers], list(warnings.filters)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    tiny = torch.tensor(1e-310, dtype=torch.float64)
    for flushed in (False, True):
        torch.set_flush_denormal(flushed)
        try:
            trained(folder, preset(training={"n_steps": 2}))
            (folder / "small.json").unlink()
            assert (float(tiny * 1.0) == 0.0) == flushed
        finally:
            torch.set_flush_denormal(False)
    assert torch.equal(torch.get_rng_state(), state)
    assert [logger.level for logger in loggers] == levels and list(warnings.filters) == filters


def test_mixed_precision(folder):
    card = trained(folder, hardware=replace(HARDWARE, precision="bf16-mixed"))
    assert all(tensor.isfinite().all() for tensor in load_state(card).values())


def test_it_learns(tmp_path):
    """After seconds, what takes the prior 7.1 nats to say takes half of them."""
    made = preset(
        training={
            "n_training": 512,
            "n_steps": 300,
            "batch_size": 64,
            "validate_every": 100,
            "ema_decay": 0.98,
            "learning_rate": 5e-3,
        }
    )
    lines = []
    card = trained(tmp_path, made, say=lines.append)
    entropy = 0.5 * 5 * math.log(2.0 * math.pi * math.e)
    assert logged_losses(tmp_path)[-1] < 0.5 * entropy
    # What is learned holds for lenses that were never seen.
    validation = task_of(made).sources(tmp_path)["validation"]
    batch = validation.batch_from(np.arange(64), np.random.default_rng(9))
    with torch.no_grad():
        draws = stored_network(card)(*batch.inputs).sample(500, torch.Generator().manual_seed(0))
    radius = card.outputs["parameters"].index("galaxies.lens.mass.einstein_radius")
    means, widths = draws.mean(0)[:, radius], draws.std(0)[:, radius]
    assert torch.corrcoef(torch.stack([means, batch.latents[:, radius]]))[0, 1] > 0.8
    assert widths.mean() < 0.7
    assert "validation" in lines[-1] and "step 300 of 300" in lines[-1]


def test_damaged_sets(folder):
    """The error is ours, not one of Lightning's."""
    (folder / "training" / "planes.npy").write_bytes(b"")
    with pytest.raises(DataError, match=r"planes\.npy"):
        trained(folder)


def test_presets_are_written_whole(folder):
    trained(folder, preset(training={"n_steps": 1}))
    written = json.loads((folder / "preset.json").read_text())
    assert written == preset(training={"n_steps": 1}).as_dict()
