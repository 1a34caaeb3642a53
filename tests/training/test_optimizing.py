"""The task of climbing: problems with known derivatives, a loss that falls, and what is refused."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from autolens_ml.exceptions import OptionError
from autolens_ml.training.optimizer_problems import (
    Lenses,
    fitted_problems,
    lens_problems,
    warped_problems,
)
from autolens_ml.training.optimizing import Optimizing, climb_loss
from autolens_ml.training.preset import Preset, TrainingOptions, preset_from
from autolens_ml.training.train import Hardware, train

FORMULAS = {"warped": warped_problems, "fitted": fitted_problems}
POPULATION = {
    "instrument": {
        "name": "tiny",
        "shape": [12, 12],
        "pixel_scale": 0.3,
        "psf_fwhm": 0.3,
        "exposure_time": 1000.0,
        "background_sky_level": 1.0,
        "over_sample_size": 1,
    },
    "noise_units": True,
    "model": {
        "lens": {
            "redshift": 0.5,
            "mass": {
                "class": "al.mp.IsothermalSph",
                "centre": [0.0, 0.0],
                "einstein_radius": {"uniform": [0.6, 1.4]},
            },
        },
        "source": {
            "redshift": 1.0,
            "bulge": {
                "class": "al.lp.ExponentialSph",
                "centre": {"gaussian": [0.0, 0.2]},
                "intensity": {"log_uniform": [5.0, 20.0]},
                "effective_radius": {"log_uniform": [0.2, 0.5]},
            },
        },
    },
}


def preset(**data) -> Preset:
    return Preset(
        name="tiny",
        description="The smallest learned optimiser.",
        task="optimizer",
        data={"shares": {"warped": 1.0, "fitted": 1.0}, "n_climb_steps": 8, **data},
        network={"n_hidden": 4},
        training=TrainingOptions(
            n_training=100, n_validation=16, n_steps=4, batch_size=8, validate_every=2
        ),
        seed=2,
    )


@pytest.fixture(scope="module")
def lenses() -> Optimizing:
    """The task on lenses alone."""
    return Optimizing(preset(shares={"lenses": 1.0}, populations={"tiny": POPULATION}, n_lenses=4))


@pytest.mark.parametrize("family", FORMULAS)
def test_gradients_of_formulas_are_their_derivatives(family):
    for seed in range(3):
        problems = FORMULAS[family](4, np.random.default_rng(seed))
        z = problems.start
        _, gradient = problems.value_and_gradient(z)
        q = z.clone()
        for i in range(z.shape[1]):
            step = 1e-6
            q[:, i] = z[:, i] + step
            up = problems.value_and_gradient(q)[0]
            q[:, i] = z[:, i] - step
            down = problems.value_and_gradient(q)[0]
            q[:, i] = z[:, i]
            difference = (up - down) / (2.0 * step)
            np.testing.assert_allclose(gradient[:, i], difference, rtol=1e-4, atol=1e-3)


def test_references_are_about_the_highest_posteriors():
    warped = warped_problems(8, np.random.default_rng(0))
    value, gradient = warped.value_and_gradient(warped.centre)
    np.testing.assert_array_equal(value, warped.reference)
    np.testing.assert_array_equal(gradient, torch.zeros_like(gradient))
    fitted = fitted_problems(16, np.random.default_rng(0))
    assert torch.all(fitted.value_and_gradient(fitted.start)[0] < fitted.reference)


def test_lenses_have_the_gradient_of_their_likelihood(lenses):
    problems = lenses.problems(4, np.random.default_rng(0))
    assert isinstance(problems, Lenses)
    z = problems.start + 0.1
    value, gradient = lenses.oracle(problems)(z)
    assert value.dtype == torch.float64
    step = 1e-5 * torch.eye(z.shape[1], dtype=z.dtype)
    for i, axis in enumerate(step):
        up, down = (lenses.oracle(problems)(z + sign * axis)[0] for sign in (1.0, -1.0))
        np.testing.assert_allclose(gradient[:, i], (up - down) / 2e-5, rtol=1e-4, atol=1e-3)


def test_lens_references_are_the_posteriors_of_the_truth(lenses):
    (likelihood,) = lenses.likelihoods
    problems = lens_problems(likelihood, 0, 6, np.random.default_rng(1))
    population = likelihood.population
    # Residuals of the truth are the noise: chi-squared of about one per pixel.
    chi_squared = -2.0 * problems.reference.numpy() / np.prod(population.instrument.shape)
    assert np.all((chi_squared > 0.6) & (chi_squared < 1.4))
    value = likelihood.value(
        problems.start.numpy(),
        problems.images.numpy(),
        problems.noise_maps.numpy(),
        problems.kernels.numpy(),
    )
    assert np.all(value < problems.reference.numpy())


def test_problems_are_fresh_and_reproducible():
    source = Optimizing(preset()).sources(None)["training"]
    rows = np.arange(8)
    first, again, other = (
        source.batch_from(rows, np.random.default_rng(seed)) for seed in (3, 3, 4)
    )
    assert type(first) is type(again)
    assert torch.equal(first.start, again.start)
    assert not torch.equal(first.start[0, :2], other.start[0, :2])
    assert len(first.start) == 8


def test_training_lowers_the_loss():
    task = Optimizing(preset(n_climb_steps=12))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = task.network()
    held_out = [make(24, np.random.default_rng(99)) for make in FORMULAS.values()]

    def left() -> float:
        with torch.no_grad():
            return sum(
                float(climb_loss(network, each, each.value_and_gradient, 12)) for each in held_out
            )

    before, rng = left(), np.random.default_rng(0)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(25):
        optimizer.zero_grad()
        task.loss(network, task.problems(16, rng)).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 0.3)
        optimizer.step()
    assert left() < 0.97 * before


def test_losses_ignore_reduced_precision():
    task = Optimizing(preset())
    network, problems = task.network(), task.problems(4, np.random.default_rng(0))
    plain = task.loss(network, problems)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(task.loss(network, problems), plain)


def test_from_preset_to_card_twice_the_same(tmp_path):
    hardware = Hardware(accelerator="cpu", devices=1)
    cards = [train(preset(), tmp_path / name, hardware) for name in ("first", "second")]
    assert cards[0].sha256 == cards[1].sha256
    assert cards[0].task == "optimizer"
    assert json.loads(cards[0].path.read_text())["inputs"]["derivatives"]


def test_the_shipped_preset_is_whole():
    task = Optimizing(preset_from("rim-parametric"))
    assert [likelihood.population.space.dim for likelihood in task.likelihoods] == [14, 19]
    assert sum(p.numel() for p in task.network().parameters()) < 10_000


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"shares": {"lenses": 1.0}}, "needs populations"),
        ({"shares": {"quadratic": 1.0}}, "shares must be of warped"),
        ({"shares": {"warped": -1.0}}, "numbers >= 0"),
        ({"shares": {"warped": 0.0}}, "not all 0"),
        ({"n_climb_steps": 0}, "n_climb_steps must be a whole number"),
        ({"n_lenses": 2.5}, "n_lenses must be a whole number"),
        ({"populations": [1]}, "populations must be by name"),
        ({"populations": {"a": 3}}, "population a must be a mapping"),
        ({"populations": {"a": {**POPULATION, "noise_units": False}}}, "needs noise_units"),
        ({"families": 1}, "unknown families"),
    ],
)
def test_bad_data(data, message):
    with pytest.raises(OptionError, match=message) as error:
        Optimizing(preset(**data))
    assert "\n" not in str(error.value)


def test_bad_network():
    with pytest.raises(OptionError, match=r"network: .*n_layers"):
        Optimizing(dataclasses.replace(preset(), network={"n_layers": 3})).network()
