"""Stored networks: what is written comes back, and whatever was damaged is refused by name."""

import hashlib
import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autolens_ml.exceptions import NetworkError
from autolens_ml.networks import checkpoint
from autolens_ml.networks.checkpoint import (
    Card,
    cards,
    find_card,
    load_state,
    save_card,
    save_network,
)

METRIC = {"value": 0.03, "low": 0.02, "high": 0.04, "n": 500, "command": "autolens-ml evaluate"}


def fields(**changes) -> dict:
    values = {
        "name": "euclid-sie",
        "task": "lens-parameters",
        "description": "Posterior of the mass of a lens.",
        "instrument": {"name": "Euclid VIS", "pixel_scale": 0.1},
        "bands": ["VIS"],
        "n_parameters": 12,
        "architecture": {"class": "Net", "config": {"width": 4}},
        "inputs": {"shape": (64, 64), "pixel_scale": 0.1},
        "outputs": {"parameters": ["galaxies.lens.mass.einstein_radius"], "prior": None},
        "training": {"preset": "euclid", "seed": 1, "samples": 1000, "hours": 0.5},
        "metrics": {"rmse": METRIC},
    }
    return {**values, **changes}


def stored(**changes) -> dict:
    return {**fields(), "sha256": "0" * 64, "format": 1, **changes}


def tensors(seed: int = 1) -> dict:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(4, 3, generator=generator)
    return {
        "weight": weight,
        "transposed": weight.t(),
        "tied": weight,
        "scalar": torch.tensor(0.5, dtype=torch.float64),
        "empty": torch.zeros(0, 2),
        "steps": torch.tensor(2**40),
        "mask": torch.tensor([True, False]),
    }


@pytest.fixture
def network(tmp_path) -> Card:
    return save_network(tmp_path, fields(), tensors())


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """Two networks that ship, and one more task."""
    monkeypatch.setattr(checkpoint, "WEIGHTS_FOLDER", tmp_path / "weights")
    for name, task in (
        ("hst-sie", "lens-parameters"),
        ("hst", "finder"),
        ("euclid-sie", "lens-parameters"),
    ):
        save_network(tmp_path / "weights", fields(name=name, task=task), tensors())
    return tmp_path / "weights"


def assert_refused(match: str, call, *args) -> None:
    with pytest.raises(NetworkError, match=match) as raised:
        call(*args)
    assert "\n" not in str(raised.value)


def test_round_trip(network):
    state = load_state(network)
    original = tensors()
    assert set(state) == set(original)
    for name, tensor in original.items():
        assert state[name].shape == tensor.shape
        if tensor.is_floating_point():
            assert state[name].dtype == torch.float32
            assert torch.equal(state[name], tensor.half().float())
        else:
            assert state[name].dtype == tensor.dtype
            assert torch.equal(state[name], tensor)
        state[name].zero_()  # memory of its own, that may be trained on
    assert torch.equal(load_state(network.path)["weight"], original["weight"].half().float())


def test_a_state_that_was_loaded_is_stored_the_same(network, tmp_path):
    again = save_network(tmp_path / "again", network.as_dict(), load_state(network))
    assert again == network
    assert again.weights.read_bytes() == network.weights.read_bytes()


def test_float32_is_exact(tmp_path):
    card = save_network(tmp_path, fields(), tensors(), dtype="float32")
    assert torch.equal(load_state(card)["weight"], tensors()["weight"])


@pytest.mark.parametrize("value", [1e6, float("inf"), float("nan")])
def test_values_beyond_float16_are_refused_and_nothing_is_written(value, tmp_path):
    state = {**tensors(), "norm.scale": torch.tensor([1.0, value])}
    assert_refused("'norm.scale' is not finite", save_network, tmp_path / "new", fields(), state)
    assert not (tmp_path / "new").exists()


def test_files_are_the_two_and_readable_by_all_whom_the_umask_lets(network, tmp_path):
    assert sorted(os.listdir(tmp_path)) == ["euclid-sie.json", "euclid-sie.safetensors"]
    plain = tmp_path / "plain"
    plain.touch()
    assert network.path.stat().st_mode == network.weights.stat().st_mode == plain.stat().st_mode


def test_card_says_what_it_was_given(network):
    values = json.loads(network.path.read_text(encoding="utf-8"))
    assert values == {**json.loads(json.dumps(fields())), "sha256": network.sha256, "format": 1}
    assert Card.from_dict(values) == network
    assert find_card(network.path) == network


def test_with_metrics(network):
    better, new = {**METRIC, "value": 0.025}, {**METRIC, "n": 3}
    changed = network.with_metrics({"rmse": better, "coverage": new})
    assert changed.metrics == {"rmse": better, "coverage": new}
    assert network.metrics == {"rmse": METRIC}
    save_card(changed)
    assert find_card(network.path) == changed
    assert load_state(changed)
    assert_refused("metrics.rmse", network.with_metrics, {"rmse": {"value": 1.0}})


# Damage.


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def swap(path):
    save_network(path.parent / "other", fields(), tensors(seed=2))
    shutil.copy(path.parent / "other" / path.name, path)


def folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [flip, truncate, swap])
def test_weights_that_are_not_those_of_the_card(damage, network):
    damage(network.weights)
    assert_refused(
        "euclid-sie.safetensors: not the weights .* train the network again", load_state, network
    )


@pytest.mark.parametrize(
    ("damage", "message"), [(os.remove, "no such file"), (folder, "cannot be read")]
)
def test_weights_that_cannot_be_read(damage, message, network):
    damage(network.weights)
    assert_refused(f"euclid-sie.safetensors: {message}.*; restore", load_state, network.path)


def test_weights_without_their_card(network):
    network.path.unlink()
    assert_refused("euclid-sie.json: no such file; restore", load_state, network.weights)


def test_the_remedy_for_a_shipped_network_is_to_install_it_again(shipped):
    flip(shipped / "hst.safetensors")
    assert_refused("reinstall autolens_ml$", load_state, "hst")
    (shipped / "hst.json").write_text("{")
    assert_refused("hst.json: .*reinstall autolens_ml$", find_card, "hst")
    assert find_card("hst-sie").name == "hst-sie"  # the others are as good as before


def test_weights_that_are_no_safetensors(network):
    # The header of the format, with a type of numbers that torch may not have, and with none.
    for header in (b'{"a":{"dtype":"F6_E2M3","shape":[4],"data_offsets":[0,3]}}', b"pickle"):
        data = len(header).to_bytes(8, "little") + header + bytes(3)
        network.weights.write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        card = Card.from_dict({**network.as_dict(), "sha256": digest}, network.folder)
        assert_refused("not a readable safetensors file", load_state, card)


BAD_CARDS = {
    "other weights": (stored(sha256="1" * 64), None),
    "list": ([], "must be a JSON object"),
    "missing": ({"name": "a"}, "lacks task, description"),
    "unknown": (stored(weights="../../elsewhere"), "has the unknown weights"),
    "newer": ({"name": "a", "format": 2}, "update autolens_ml"),
    "older": (stored(format=0), "update autolens_ml"),
    "format": (stored(format=True), "format must be a whole number"),
    "path": (stored(name="../euclid-sie"), "name must be up to 100 letters"),
    "separator": (stored(name="a\\b"), "name must be up to 100 letters"),
    "dot": (stored(name="."), "name must be up to 100 letters"),
    "newline": (stored(name="euclid-sie\n"), "name must be one line"),
    "other name": (stored(name="hst"), "rename it hst.json"),
    "task": (stored(task=""), "task must be up to 100 letters"),
    "escape": (stored(description="\x1b[2J"), "description must be one line of printable text"),
    "surrogate": (stored(bands=["\ud800"]), "bands.0. must be one line of printable text"),
    "key": (stored(inputs={"a\nb": 1}), "inputs: a key of it must be one line"),
    "bands": (stored(bands="VIS"), "bands must be a list, not text"),
    "band": (stored(bands=[1]), "bands must be a list of text"),
    "parameters": (stored(n_parameters=1.5), "n_parameters must be a whole number, not float"),
    "no parameters": (stored(n_parameters=0), "n_parameters must be above 0"),
    "bool": (stored(n_parameters=True), "n_parameters must be a whole number, not bool"),
    "sha256": (stored(sha256="A" * 64), "64 hexadecimal"),
    "NaN": (stored(inputs={"scale": [float("nan")]}), r"inputs.scale.0. must be a finite number"),
    "infinite": (stored(training={"hours": float("inf")}), "training.hours must be a finite"),
    "huge": (stored(training={"seed": 10**400}), "training.seed must be a finite number"),
    "metric": (stored(metrics={"a": 1.0}), "metrics.a must have value, low, high, n, command"),
    "value": (stored(metrics={"a": {**METRIC, "value": "1"}}), "metrics.a.value must be a number"),
    "interval": (stored(metrics={"a": {**METRIC, "low": 1}}), "must not be above"),
    "n": (stored(metrics={"a": {**METRIC, "n": 0}}), "metrics.a.n must be"),
    "command": (stored(metrics={"a": {**METRIC, "command": 1}}), "command must be text"),
}


@pytest.mark.parametrize("case", BAD_CARDS)
def test_edited_cards(case, network):
    values, message = BAD_CARDS[case]
    network.path.write_text(json.dumps(values))
    if message is None:
        assert_refused("not the weights", load_state, network.path)
    else:
        assert_refused(f"euclid-sie.json: .*{message}", load_state, network.path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "\ufeff{}",
        "null",
        "1e999",
        "[" * 100_000,
        '{"a":' * 70 + "1" + "}" * 70,
        "9" * 5000,
    ],
)
def test_files_that_are_no_cards(text, network):
    network.path.write_text(text, encoding="utf-8")
    assert_refused("euclid-sie.json: ", find_card, network.path)
    network.path.write_bytes(b"\xff\xfe" + text.encode())
    assert_refused("euclid-sie.json: ", find_card, network.path)


@pytest.mark.parametrize("value", [object(), {1: 2}, b"bytes", {"name": torch.zeros(1)}])
def test_types_that_json_has_not(value):
    assert_refused("card", Card.from_dict, value)
    assert_refused("card.inputs", Card.from_dict, stored(inputs={"a": value}))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=10,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(json_values, st.dictionaries(st.sampled_from([*stored(), "folder"]), json_values))
def test_only_network_errors_escape(values, changes):
    for candidate in (values, {**stored(), **changes}):
        try:
            card = Card.from_dict(candidate)
        except NetworkError as error:
            assert "\n" not in str(error)
        else:
            text = json.dumps(card.as_dict(), allow_nan=False)
            assert Card.from_dict(json.loads(text)) == card


# Atomicity.


@pytest.fixture
def ended_after(monkeypatch):
    """Let the process be ended when so many files have got their names."""

    def end_after(n_files: int) -> None:
        left = iter(range(n_files))

        def replace(source, target):
            if next(left, None) is None:
                raise KeyboardInterrupt
            os.rename(source, target)

        monkeypatch.setattr(os, "replace", replace)

    return end_after


def save_ended(folder) -> None:
    with pytest.raises(KeyboardInterrupt):
        save_network(folder, fields(), tensors(seed=2))


def test_ended_before_the_weights_the_old_network_is_whole(network, ended_after):
    ended_after(0)
    save_ended(network.folder)
    assert sorted(os.listdir(network.folder)) == ["euclid-sie.json", "euclid-sie.safetensors"]
    assert torch.equal(load_state(network.path)["weight"], tensors()["weight"].half().float())


def test_ended_before_the_card_the_old_one_is_refused(network, ended_after, monkeypatch):
    ended_after(1)
    save_ended(network.folder)
    assert_refused("not the weights", load_state, network.path)
    monkeypatch.undo()
    save_network(network.folder, fields(), tensors(seed=2))
    new = load_state(network.path)
    assert torch.equal(new["weight"], tensors(seed=2)["weight"].half().float())


@pytest.mark.parametrize("n_files", [0, 1])
def test_a_first_save_that_was_ended_leaves_no_network(n_files, ended_after, tmp_path):
    ended_after(n_files)
    save_ended(tmp_path)
    assert len(os.listdir(tmp_path)) == n_files
    assert_refused("no network in it", find_card, tmp_path)


def test_what_a_killed_save_leaves_is_no_network(network, tmp_path):
    (tmp_path / ".euclid-sie.json.1.partial").write_text("{")
    (tmp_path / ".euclid-sie.safetensors.1.partial").write_text("")
    (tmp_path / "metrics.json").write_text("{}")
    assert find_card(tmp_path) == network


# Finding.


def test_cards_are_sorted_and_chosen_by_task(shipped):
    assert [card.name for card in cards()] == ["euclid-sie", "hst", "hst-sie"]
    assert [card.name for card in cards("finder")] == ["hst"]
    assert cards("nothing") == []
    assert find_card("hst").folder == shipped
    assert find_card("HST-SIE") == find_card("hst-sie")
    assert find_card("hst", "finder") == find_card(shipped / "hst.safetensors", "finder")


def test_a_name_wins_over_a_folder_of_that_name(shipped, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_network(tmp_path / "hst", fields(name="mine"), tensors())
    assert find_card("hst").name == "hst"
    for path in ("./hst", tmp_path / "hst", "hst/mine.json", "hst/mine.safetensors"):
        assert find_card(path).name == "mine"


@pytest.mark.parametrize(
    ("network", "task", "message"),
    [
        (
            "hst-si",
            None,
            "no network 'hst-si': did you mean hst-sie. give one of euclid-sie, hst, h",
        ),
        ("hst", "lens-parameters", "for finder, not for .*: give one of euclid-sie, hst-sie, or"),
        ("hst", "nothing", "none ships with autolens_ml for this"),
        ("unknown", "finder", "no network 'unknown': give one of hst, or the path"),
        ("nowhere/hst", None, "no network 'nowhere/hst'"),
        ("nowhere/hst.json", None, "hst.json: no such file"),
        ("nowhere/hst.safetensors", None, "hst.json: no such file"),
        ("a\nb", None, "no network"),
        ("x" * 5000, None, "no network"),
    ],
)
def test_networks_that_are_not_there(network, task, message, shipped):
    assert_refused(message, find_card, network, task)


def test_folders_and_files_that_are_not_one_network(shipped, tmp_path):
    assert_refused(
        "3 networks in it: .* euclid-sie.json, hst-sie.json, hst.json", find_card, shipped
    )
    (tmp_path / "net.ckpt").write_bytes(b"")
    assert_refused("net.ckpt: not a stored network", find_card, tmp_path / "net.ckpt")


def test_none_shipped(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "WEIGHTS_FOLDER", tmp_path / "weights")
    assert cards() == []
    assert_refused("none ships", find_card, "hst")


def test_listing_leaves_torch_alone(shipped):
    code = (
        "import sys; from pathlib import Path; from autolens_ml.networks import checkpoint; "
        f"checkpoint.WEIGHTS_FOLDER = Path({str(shipped)!r}); "
        "from autolens_ml.training import cards; cards.cards_table(checkpoint.cards()); "
        "print(len(checkpoint.cards()), [m for m in ('torch', 'autofit') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[-2] == "3 []"


def test_shipped_networks_are_whole():
    for card in cards():
        assert load_state(card)
