"""Transforms of round profiles against formulas and integrals that are none of the table's own."""

import numpy as np
import pytest
import torch
from scipy import integrate, special

from autolens_ml.simulate.shear_profiles import (
    AIRY_BLURS,
    MOFFAT_BETAS,
    SERSIC_INDICES,
    airy_rows,
    gaussian_rows,
    moffat_rows,
    radial_transforms,
    sersic_rows,
    transform_table,
)

# Product of wavenumber and size.
Q = np.array([1e-3, 0.1, 0.5, 1.0, 3.0, 10.0])


def transforms(row, q=Q):
    rows = torch.tensor([float(np.squeeze(row))])
    return radial_transforms(rows, torch.from_numpy(q**2).float()[None])[0].numpy()


def hankel(light, q, largest, n=60_001):
    """2 pi times the integral of r I(r) J_0(q r), over I's own."""
    # Steps that get smaller towards the middle, where profiles have cusps.
    x = np.linspace(0.0, largest ** (1 / 4), n)
    r = x**4
    weight = light(r) * r * 4.0 * x**3
    values = [integrate.simpson(weight * special.j0(k * r), x=x) for k in q]
    return np.array(values) / integrate.simpson(weight, x=x)


def test_gaussian_and_exponential_are_known():
    half_light = np.sqrt(2.0 * np.log(2.0))
    np.testing.assert_allclose(
        transforms(sersic_rows(0.5)), np.exp(-0.5 * (Q / half_light) ** 2), atol=2e-5
    )
    b = special.gammaincinv(2.0, 0.5)
    np.testing.assert_allclose(
        transforms(sersic_rows(1.0)), (1.0 + (Q / b) ** 2) ** -1.5, atol=2e-5
    )
    fwhm = 2.0 * np.sqrt(2.0 * np.log(2.0))
    np.testing.assert_allclose(
        transforms(gaussian_rows(1)), np.exp(-0.5 * (Q / fwhm) ** 2), atol=2e-5
    )


@pytest.mark.parametrize("index", [0.8, 1.7, 2.5])
def test_sersic_profiles_are_their_integrals(index):
    b = special.gammaincinv(2.0 * index, 0.5)
    expected = hankel(lambda r: np.exp(-b * r ** (1.0 / index)), Q[1:], (25.0 / b) ** index)
    np.testing.assert_allclose(transforms(sersic_rows(index), Q[1:]), expected, atol=1e-4)


@pytest.mark.parametrize("beta", [2.5, 3.7])
def test_moffat_profiles_are_their_integrals(beta):
    scale = 0.5 / np.sqrt(2.0 ** (1.0 / beta) - 1.0)
    expected = hankel(lambda r: (1.0 + (r / scale) ** 2) ** -beta, Q[1:5], 300.0)
    np.testing.assert_allclose(transforms(moffat_rows(beta), Q[1:5]), expected, atol=1e-3)


@pytest.mark.parametrize("blur", [AIRY_BLURS[0], 0.3])
def test_sizes_of_apertures_are_full_widths(blur):
    q = np.linspace(0.0, 60.0, 6001)
    transform = transforms(airy_rows(blur), q)

    def light(r):
        return integrate.simpson(q * transform * special.j0(q * r), x=q)

    assert light(0.5) / light(0.0) == pytest.approx(0.5, abs=2e-3)
    # Beyond the cut-off there is nothing.
    assert transforms(airy_rows(blur), np.array([50.0])) == pytest.approx(0.0, abs=1e-6)


def test_every_row_holds_the_light_of_one_profile():
    table = transform_table()
    assert torch.allclose(table[:, 0], torch.ones(len(table)), atol=1e-5)
    assert table.max() < 1.0 + 1e-5
    assert (table.diff(dim=1) < 1e-5).all()
    rows = [sersic_rows(n) for n in SERSIC_INDICES] + [moffat_rows(b) for b in MOFFAT_BETAS]
    rows += [airy_rows(b) for b in AIRY_BLURS] + [gaussian_rows(1)]
    ends = np.array([float(np.squeeze(row)) for row in rows])
    # Families follow each other, and nothing lies between them.
    np.testing.assert_allclose(ends[0], 0.0)
    np.testing.assert_allclose(ends[2::2] - ends[1:-1:2], 1.0)
    np.testing.assert_allclose(ends[-1], len(table) - 1)


def test_rows_of_a_batch_are_their_own():
    rows = torch.tensor([3.0, 110.4, 130.9])
    squared = torch.rand(3, 50, generator=torch.Generator().manual_seed(1)) * 9.0
    together = radial_transforms(rows, squared)
    for i in range(3):
        alone = radial_transforms(rows[i : i + 1], squared[i : i + 1])
        assert torch.equal(together[i], alone[0])
    assert (radial_transforms(rows, torch.zeros(3, 1)) - 1.0).abs().max() < 5e-5
