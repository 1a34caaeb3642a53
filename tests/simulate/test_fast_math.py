"""Fast elementary functions: as exact as the slow ones, and put into any function."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from autolens_ml.simulate import fast_math
from autolens_ml.simulate.fast_math import accelerated, arctan, arctanh, power


@pytest.fixture(autouse=True)
def doubles():
    with jax.enable_x64(True):
        yield


def relative_error(found, expected):
    return np.max(np.abs(np.asarray(found) - expected) / np.abs(expected))


WIDE = np.geomspace(1e-300, 1e300, 20_001)
SIGNED = np.concatenate([-WIDE[::-1], WIDE, np.linspace(-5.0, 5.0, 20_002)])
BELOW_ONE = np.concatenate(
    [np.linspace(-0.999999, 0.999999, 20_002), np.geomspace(1e-300, 0.1, 999)]
)


def test_arctan():
    assert relative_error(arctan(jnp.array(SIGNED)), np.arctan(SIGNED)) < 4e-16
    np.testing.assert_array_equal(
        arctan(jnp.array([0.0, np.inf, -np.inf, np.nan])), [0.0, np.pi / 2, -np.pi / 2, np.nan]
    )


def test_arctanh():
    assert relative_error(arctanh(jnp.array(BELOW_ONE)), np.arctanh(BELOW_ONE)) < 2e-15
    np.testing.assert_array_equal(
        arctanh(jnp.array([0.0, 1.0, -1.0, 1.1, -2.0, np.nan])),
        [0.0, np.inf, -np.inf, np.nan, np.nan, np.nan],
    )


@pytest.mark.parametrize("exponent", [0.1, 0.25, 1.0, 2.5, -0.5])
def test_power(exponent):
    base = np.geomspace(1e-12, 1e12, 20_001)
    # The error of an exponential is that of its argument.
    tolerance = 3e-16 * (1.0 + np.max(np.abs(exponent * np.log(base))))
    assert relative_error(power(jnp.array(base), jnp.array(exponent)), base**exponent) < tolerance
    assert np.all(np.isnan(power(jnp.array([-1.0, np.nan]), jnp.array(exponent))))


def test_powers_of_zero_are_nothing():
    assert np.all(power(jnp.zeros(3), jnp.array(0.25)) < 1e-70)
    np.testing.assert_array_equal(power(jnp.zeros(3), jnp.array(0.0)), 1.0)


def image(x, n):
    """Everything that a profile does: nested functions, loops, branches, constants."""
    grid = jnp.linspace(0.1, 0.9, 50)
    radius = jnp.sqrt((grid - x) ** 2.0 + 0.1)
    angles = jnp.arctan(radius) + jax.jit(jnp.arctanh)(0.5 * grid)
    terms = lax.fori_loop(0, 3, lambda i, total: total + radius ** (i + x), jnp.zeros(50))
    branch = lax.cond(n > 2.0, jnp.sin, jnp.cos, grid)
    return jax.nn.relu(jnp.exp(-(radius ** (1.0 / n)))) + angles + terms + branch + grid**3 + n


def test_functions_keep_their_values():
    arguments = jnp.array(0.3), jnp.array(2.7)
    for function in (accelerated(image), jax.jit(accelerated(image))):
        np.testing.assert_allclose(function(*arguments), image(*arguments), rtol=1e-14)
    many = jnp.linspace(0.1, 0.4, 4), jnp.linspace(1.0, 4.0, 4)
    found = lax.map(lambda one: accelerated(image)(*one), many)
    np.testing.assert_allclose(found, jax.vmap(image)(*many), rtol=1e-14)


def test_functions_are_replaced_where_they_cost(monkeypatch):
    calls = []
    for primitive, function in fast_math._FUNCTIONS.items():

        def counted(*operands, primitive=primitive, function=function):
            calls.append(str(primitive))
            return function(*operands)

        monkeypatch.setitem(fast_math._FUNCTIONS, primitive, counted)
    accelerated(image)(jnp.array(0.3), jnp.array(2.7))
    # Not the square, nor what is in the loop.
    assert sorted(calls) == ["atan", "atanh", "pow"]
    calls.clear()
    accelerated(lambda x: jnp.arctan(x) ** x)(jnp.array(0.3))
    with jax.enable_x64(False):
        accelerated(lambda x: jnp.arctan(x) ** x[0])(jnp.ones(9, dtype=jnp.float32))
    assert calls == []
