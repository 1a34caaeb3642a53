"""A fit that is killed and started again gives, bit by bit, what it would have given."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.networks.climbs import stored

ROOT = Path(__file__).resolve().parents[2]


def fit(folder: Path, *options: str) -> int:
    """Fit in a new process; return its exit code."""
    environment = {
        **os.environ,
        "PYAUTO_SKIP_VISUALIZATION": "1",
        "PYAUTO_SKIP_LATENTS": "1",
        "PYAUTO_SKIP_WORKSPACE_VERSION_CHECK": "1",
    }
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "tests.search.interrupted", str(folder), *options],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr[-4000:]
    return done.returncode


def results(folder: Path) -> tuple[dict[str, np.ndarray], dict]:
    with np.load(folder / "samples.npz") as samples:
        return dict(samples), json.loads((folder / "info.json").read_text())


def assert_same(folder: Path, expected: Path) -> dict:
    """Compare samples exactly, and all of the info; return the info."""
    samples, info = results(folder)
    expected_samples, expected_info = results(expected)
    for name, values in expected_samples.items():
        np.testing.assert_array_equal(samples[name], values, err_msg=name)
    calls, expected_calls = info.pop("calls"), expected_info.pop("calls")
    assert info == expected_info
    return {"calls": calls, "expected_calls": expected_calls}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Return where uninterrupted fits are, on numpy and JAX."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    paths = {"numpy": folder / "numpy", "jax": folder / "jax"}
    assert fit(paths["numpy"]) == 0
    assert fit(paths["jax"], "--use-jax") == 0
    return paths


@pytest.mark.parametrize("fraction", [0.01, 0.6, 0.95])
def test_killed_at_a_likelihood(tmp_path, uninterrupted, fraction):
    n_calls = results(uninterrupted["numpy"])[1]["calls"]
    folder = tmp_path / "fit"
    dies_at = max(1, int(fraction * n_calls))
    assert fit(folder, "--dies-at-likelihood", str(dies_at)) == -signal.SIGKILL
    assert not (folder / "samples.npz").exists()
    assert fit(folder) == 0
    calls = assert_same(folder, uninterrupted["numpy"])
    # It resumed: what was done before the kill was not all done again.
    if fraction > 0.5:
        assert calls["calls"] < calls["expected_calls"]


def test_killed_again_and_again(tmp_path, uninterrupted):
    n_calls = results(uninterrupted["numpy"])[1]["calls"]
    folder = tmp_path / "fit"
    for fraction in (0.2, 0.25, 0.3):
        fit(folder, "--dies-at-likelihood", str(int(fraction * n_calls)))
    if not (folder / "samples.npz").exists():
        assert fit(folder) == 0
    assert_same(folder, uninterrupted["numpy"])


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("number", [1, 3])
def test_killed_at_a_checkpoint(tmp_path, uninterrupted, number, before):
    """On JAX, where likelihoods are compiled and cannot be counted."""
    folder = tmp_path / "fit"
    options = ["--dies-at-checkpoint", str(number), *(["--before"] if before else [])]
    assert fit(folder, "--use-jax", *options) == -signal.SIGKILL
    assert not (folder / "samples.npz").exists()
    assert fit(folder, "--use-jax") == 0
    assert_same(folder, uninterrupted["jax"])


def test_learned_climbs_killed_twice(tmp_path):
    """The memory of the network is kept with the rest."""
    card = stored(tmp_path)
    options = ("--use-jax", "--search", "RIM", "--network", str(card.path))
    whole, folder = tmp_path / "whole", tmp_path / "fit"
    assert fit(whole, *options) == 0
    for number in (7, 12):
        assert fit(folder, *options, "--dies-at-checkpoint", str(number)) == -signal.SIGKILL
        assert not (folder / "samples.npz").exists()
    assert fit(folder, *options) == 0
    assert_same(folder, whole)
    assert results(whole)[1]["optimizer"] == card.name


def test_resume_state_is_gone_after_completion(uninterrupted):
    for folder in uninterrupted.values():
        left = {path.name for path in folder.rglob("*") if path.is_file()}
        assert ".completed" in left
        assert not any(name.endswith(".pickle") for name in left)
