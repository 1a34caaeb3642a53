"""The task of measuring a vortex."""

import json

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from autolens_ml.exceptions import NetworkError, OptionError
from autolens_ml.simulate.morphology.settings import einstein_radii_from
from autolens_ml.training.morphology_vortex import (
    TASK,
    VortexParameters,
    latents_from,
    parameters_from,
)
from autolens_ml.training.morphology_vortex_accuracy import setting_of
from autolens_ml.training.preset import Preset, preset_from
from autolens_ml.training.task import task_of
from autolens_ml.training.train import Hardware, train
from tests.morphologies import CHANGES, small_setting, stored_classifier

SMALL = {
    "name": "small",
    "description": "For tests.",
    "task": TASK,
    "data": {
        "setting": {"name": "model-i", **CHANGES},
        "changes": {"vortex_share": [0.01, 0.05]},
    },
    "network": {
        "backbone_options": {"widths": [8], "depths": [1], "n_features": 8, "map_size": 2},
        "head_options": {"n_components": 2},
    },
    "training": {
        "n_training": 64,
        "n_validation": 64,
        "n_steps": 2,
        "batch_size": 4,
        "validate_every": 2,
    },
}


def test_latents_and_back():
    setting = small_setting(vortex_share=[0.01, 0.05])
    rng = np.random.default_rng(0)
    n = 4000
    mass = setting.halo_mass * np.exp(rng.uniform(*np.log(setting.vortex_share), n))
    length = np.exp(rng.uniform(*np.log(setting.half_length), n))
    angle = rng.uniform(0.0, 180.0, n)
    centre = setting.vortex_offset * rng.standard_normal((n, 2))
    vortex = np.column_stack([centre, angle, length, np.full(n, 0.05), einstein_radii_from(mass)])
    latents = latents_from(torch.from_numpy(vortex), setting).numpy()
    # Heads start at the prior, N(0, I).
    for column in latents.T:
        assert kstest(column, "norm").pvalue > 1e-3
    np.testing.assert_allclose(np.corrcoef(latents.T), np.eye(5), atol=0.06)
    found = parameters_from(latents, setting)
    expected = np.column_stack([centre, np.log10(mass), np.log10(length), angle])
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_beyond_the_ranges_of_a_setting():
    setting = small_setting(vortex_share=[0.01, 0.05])
    heavy = einstein_radii_from(0.2 * setting.halo_mass)
    vortex = torch.tensor([[0.0, 0.0, 30.0, 9.0, 0.05, heavy]])
    latents = latents_from(vortex, setting)
    assert torch.isfinite(latents).all()
    found = parameters_from(latents.double().numpy(), setting)[0]
    np.testing.assert_allclose(10 ** found[2], 0.05 * setting.halo_mass, rtol=1e-4)
    np.testing.assert_allclose(10 ** found[3], setting.half_length[1], rtol=1e-4)
    one = small_setting(vortex_share=[0.02, 0.02], half_length=[0.5, 0.5])
    fixed = parameters_from(latents_from(vortex, one).double().numpy(), one)[0]
    np.testing.assert_allclose(10 ** fixed[2:4], (0.02 * one.halo_mass, 0.5), rtol=1e-6)


def test_from_a_preset_to_figures(tmp_path):
    card = train(Preset.from_dict(SMALL), tmp_path, Hardware(accelerator="cpu", devices=1))
    assert setting_of(card).vortex_share == (0.01, 0.05)
    result = VortexParameters.evaluate(card, 64, 2)
    metrics = result.card.metrics
    for name in ("position", "log10_mass", "log10_half_length", "position_angle_of_long"):
        assert metrics[f"error_68_{name}"]["value"] > 0.0
    assert 0.0 <= metrics["coverage_68.3"]["value"] <= 1.0
    # Untrained posteriors are the prior: half the masses are within its inner half.
    assert metrics["error_68_log10_mass"]["value"] < 0.5
    assert metrics["error_68_position_angle_of_long"]["value"] <= 90.0


def test_refusals(tmp_path):
    values = json.loads(json.dumps(SMALL))
    with pytest.raises(OptionError, match="depth"):
        task_of(Preset.from_dict({**values, "network": {"depth": 1}})).network()
    fold = {"backbone_options": {"fold": 5, "widths": [8], "depths": [1]}}
    with pytest.raises(OptionError, match="fold must divide"):
        task_of(Preset.from_dict({**values, "network": fold})).network()
    with pytest.raises(NetworkError, match="does not say"):
        setting_of(stored_classifier(tmp_path))


def test_the_shipped_preset():
    assert task_of(preset_from("vortex-i")).network().config["dim"] == 5
