"""Ensai's parameters and PyAutoLens's: the same light paths, to the sixth decimal."""

import autolens as al
import numpy as np
import pytest

from autolens_ml.exceptions import OptionError
from autolens_ml.simulate.ensai_conventions import (
    ENSAI_PARAMETERS,
    ISOTHERMAL_PARAMETERS,
    ensai_from_isothermal,
    isothermal_from_ensai,
)

GRID = al.Grid2D.uniform(shape_native=(24, 24), pixel_scales=0.32)


def kormann_deflections(parameters):
    """(y, x) deflections by Kormann, Schneider & Bartelmann 1994, on the grid.

    Their first axis, along which isodensity contours are shortest, is turned by the angle of
    (e_x, e_y) from x to y, as Ensai turns it.
    """
    radius, e_x, e_y, x_lens, y_lens = parameters
    f = 1.0 - np.hypot(e_x, e_y)
    angle = np.arctan2(e_y, e_x)
    y, x = GRID.array.T
    phi = np.arctan2(y - y_lens, x - x_lens) - angle
    if f == 1.0:
        along, across = np.cos(phi), np.sin(phi)
    else:
        f_prime = np.sqrt(1.0 - f**2)
        along = np.sqrt(f) / f_prime * np.arcsinh(f_prime / f * np.cos(phi))
        across = np.sqrt(f) / f_prime * np.arcsin(f_prime * np.sin(phi))
    return radius * np.stack(
        (
            along * np.sin(angle) + across * np.cos(angle),
            along * np.cos(angle) - across * np.sin(angle),
        ),
        axis=-1,
    )


def isothermal_deflections(parameters):
    centre_y, centre_x, ell_y, ell_x, radius = parameters
    lens = al.mp.Isothermal(
        centre=(centre_y, centre_x), ell_comps=(ell_y, ell_x), einstein_radius=radius
    )
    return lens.deflections_yx_2d_from(GRID).array


def draws(n, seed=1):
    """Lenses from the ranges of Ensai."""
    rng = np.random.default_rng(seed)
    e, angle = rng.uniform(0.0, 0.9, n), rng.uniform(0.0, 2.0 * np.pi, n)
    x, y = rng.uniform(-0.25, 0.25, (2, n))
    radius = rng.uniform(0.1, 3.0, n)
    return np.stack((radius, e * np.cos(angle), e * np.sin(angle), x, y), axis=-1)


def cases():
    special = [
        [1.3, 0.0, 0.0, 0.1, -0.2],
        [1.3, 1e-9, -1e-9, 0.1, -0.2],
        [1.3, 1e-4, 2e-4, 0.1, -0.2],
        [1.3, 0.4, 0.0, 0.1, -0.2],
        [1.3, -0.4, 0.0, 0.1, -0.2],
        [1.3, 0.0, 0.4, 0.1, -0.2],
        [1.3, 0.0, -0.4, 0.1, -0.2],
    ]
    return np.concatenate((special, draws(20)))


@pytest.mark.parametrize("parameters", cases(), ids=lambda p: np.array2string(p, precision=2))
def test_deflections_are_those_of_kormann(parameters):
    expected = kormann_deflections(parameters)
    converted = isothermal_from_ensai(parameters)
    np.testing.assert_allclose(isothermal_deflections(converted), expected, rtol=0, atol=1e-6)
    back = ensai_from_isothermal(converted)
    np.testing.assert_allclose(kormann_deflections(back), expected, rtol=0, atol=1e-6)


def test_lens_with_its_minor_axis_along_x_is_elongated_along_y():
    converted = dict(
        zip(ISOTHERMAL_PARAMETERS, isothermal_from_ensai([1.0, 0.5, 0.0, 0.0, 0.0]), strict=True)
    )
    assert converted["ell_comps_0"] == pytest.approx(0.0, abs=1e-15)
    assert converted["ell_comps_1"] == pytest.approx(-0.5 / 1.5)
    # Half axes 1/sqrt(q) and sqrt(q): their arithmetic mean.
    assert converted["einstein_radius"] == pytest.approx(0.5 * (2.0**0.5 + 2.0**-0.5))


def test_the_common_sign_is_lost_and_nothing_else():
    parameters = draws(500)
    other = parameters * [1.0, -1.0, -1.0, 1.0, 1.0]
    converted = isothermal_from_ensai(parameters)
    np.testing.assert_array_equal(converted, isothermal_from_ensai(other))
    back = ensai_from_isothermal(converted)
    expected = np.where(parameters[:, 1:2] < 0.0, other, parameters)
    np.testing.assert_allclose(back, expected, rtol=0, atol=1e-12)


def test_back_and_forth():
    rng = np.random.default_rng(2)
    parameters = np.concatenate(
        (rng.uniform(-0.6, 0.6, (300, 4)), rng.uniform(0.1, 3.0, (300, 1))), axis=1
    )
    again = isothermal_from_ensai(ensai_from_isothermal(parameters))
    np.testing.assert_allclose(again, parameters, rtol=0, atol=1e-12)


def test_sign_where_the_minor_axis_is_along_y():
    ensai = ensai_from_isothermal([0.0, 0.0, 0.0, 0.2, 1.0])
    named = dict(zip(ENSAI_PARAMETERS, ensai, strict=True))
    assert named["e_x"] == pytest.approx(0.0, abs=1e-15)
    assert named["e_y"] == pytest.approx(1.0 - 0.8 / 1.2)


def test_round_lenses_are_finite():
    np.testing.assert_array_equal(
        isothermal_from_ensai([1.2, 0.0, 0.0, 0.1, 0.2]), [0.2, 0.1, 0.0, 0.0, 1.2]
    )
    np.testing.assert_array_equal(
        ensai_from_isothermal([0.2, 0.1, 0.0, 0.0, 1.2]), [1.2, 0.0, 0.0, 0.1, 0.2]
    )


def test_any_shape():
    parameters = draws(6)
    for convert in (isothermal_from_ensai, ensai_from_isothermal):
        rows = convert(0.3 * parameters)
        many = convert(0.3 * parameters.reshape(2, 3, 5))
        np.testing.assert_array_equal(many.reshape(6, 5), rows)
        np.testing.assert_array_equal(convert(list(0.3 * parameters[0])), rows[0])


@pytest.mark.parametrize(
    ("convert", "parameters", "message"),
    [
        (isothermal_from_ensai, np.zeros((5, 4)), "last axis must be einstein_radius, e_x"),
        (ensai_from_isothermal, np.zeros((5, 4)), "last axis must be centre_0, centre_1"),
        (isothermal_from_ensai, 1.0, "last axis"),
        (isothermal_from_ensai, [1.0, 0.8, 0.6, 0.0, 0.0], "below 1"),
        (ensai_from_isothermal, [0.0, 0.0, 0.8, 0.6, 1.0], "below 1"),
    ],
)
def test_what_is_no_lens(convert, parameters, message):
    with pytest.raises(OptionError, match=message) as error:
        convert(parameters)
    assert "\n" not in str(error.value)
