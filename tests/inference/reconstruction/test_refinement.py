"""Refinement by the likelihood: data are reproduced, maps stay near those of the network."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from autolens_ml.exceptions import DataError, OptionError
from autolens_ml.inference.reconstruction.loop import Latents, Loop
from autolens_ml.inference.reconstruction.refinement import (
    Refinement,
    _amplitude,
    _Problem,
    refined,
)
from tests.inference.reconstruction.lenses import OPTIONS, latents, observed, true_maps

LOOP = Loop(replace(OPTIONS, source_link="identity"))


def nearly():
    """The truth, but five per cent off in mass, a tenth in light, and without shear."""
    maps = true_maps()
    return latents(
        maps._replace(
            source=0.9 * maps.source,
            convergence=maps.convergence + np.log10(1.05),
            shear=torch.zeros(1, 2),
        )
    )


def test_data_are_reproduced_to_the_noise_and_not_beyond():
    found, history = refined(LOOP, observed(), nearly(), Refinement())
    assert history[0] > 3.0 and history[-1] <= 1.0
    # The first step that is good enough is the last.
    assert (history[:-1] > 1.0).all() and history[-1] > 0.9
    state = LOOP.state(observed(), found)
    assert float(state.chi_squared) == pytest.approx(history[-1], rel=1e-5)


def test_refined_maps_are_nearer_to_the_truth():
    truth = latents(true_maps())
    found, _ = refined(LOOP, observed(), nearly(), Refinement())
    for name in ("source", "convergence", "shear"):
        before, after = (
            float((getattr(each, name) - getattr(truth, name)).square().mean())
            for each in (nearly(), found)
        )
        assert after < before, name


def test_what_reproduces_the_data_stays_as_it_is():
    at = latents(true_maps())
    found, history = refined(LOOP, observed(), at, Refinement(target=1.3))
    assert len(history) == 1 and all(torch.equal(a, b) for a, b in zip(found, at, strict=True))


def test_two_refinements_agree_bit_for_bit():
    one, other = (refined(LOOP, observed(), nearly(), Refinement(n_steps=5)) for _ in range(2))
    assert np.array_equal(one[1], other[1])
    assert all(torch.equal(a, b) for a, b in zip(one[0], other[0], strict=True))


def test_the_prior_holds_maps_where_they_were():
    tight = Refinement(convergence=1e-4, source=1e-4, source_floor=1e-4, shear=1e-4, target=0.0)
    found, history = refined(LOOP, observed(), nearly(), tight)
    assert history[-1] > 0.9 * history[0]
    assert (found.convergence - nearly().convergence).abs().max() < 1e-2


def test_the_gradient_is_that_of_the_value():
    problem = _Problem(LOOP, observed(), nearly(), Refinement())
    rng = np.random.default_rng(1)
    xi = 0.1 * rng.normal(size=problem.size)
    _, gradient = problem.value_and_gradient(xi)
    towards = gradient / np.linalg.norm(gradient)
    ends = [problem.value_and_gradient(xi + s * 0.01 * towards)[0] for s in (1.0, -1.0)]
    assert gradient @ towards == pytest.approx((ends[0] - ends[1]) / 0.02, rel=0.03)


def test_deviations_of_unit_normal_numbers_have_the_size_that_was_asked_for():
    options = Refinement(convergence=0.07, source=0.2, source_floor=0.1, shear=0.03)
    problem = _Problem(LOOP, observed(), nearly(), options)
    rng = np.random.default_rng(1)
    start, light = nearly(), LOOP.surface_brightness(nearly().source)
    drawn = [
        problem._latents(torch.from_numpy(rng.standard_normal(problem.size)).float())
        for _ in range(300)
    ]
    moved = Latents(*(torch.cat(each) for each in zip(*drawn, strict=True)))
    # A field, and all of it together.
    expected = {
        "convergence": torch.full((24, 24), 0.07 * np.sqrt(2.0)),
        "source": (0.2 * light + 0.1)[0],
        "shear": torch.full((2,), 0.03),
    }
    for name, rms in expected.items():
        found = (getattr(moved, name) - getattr(start, name)).square().mean(dim=0).sqrt()
        assert float((found / rms).mean()) == pytest.approx(1.0, abs=0.05), name


def test_waves_have_the_slope_that_was_asked_for():
    amplitude = _amplitude((32, 32), 3.0)
    assert float(amplitude[0, 4] / amplitude[0, 2]) == pytest.approx(2.0**-1.5, rel=1e-5)
    assert not amplitude[0, 0]


def test_one_lens_at_a_time():
    with pytest.raises(DataError, match="2 lenses"):
        refined(LOOP, observed(2), nearly(), Refinement())


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"shear": -1.0}, "shear must be 0 or more"), ({"n_steps": 0}, "n_steps must be a whole")],
)
def test_bad_options_are_refused(changes, message):
    with pytest.raises(OptionError, match=message):
        Refinement(**changes)
