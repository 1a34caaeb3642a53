"""Uneven depth and correlated noise."""

import numpy as np
import pytest
import torch

from autolens_ml.training.degradation import depths, resampled


def test_depths_only_ever_lower():
    factors = depths(400, (32, 24), 0.5, np.random.default_rng(1)).numpy()
    assert factors.shape == (400, 32, 24)
    assert factors.min() == 1.0
    assert 1.5 < factors.max() <= 4.0
    touched = (factors > 1.0).any(axis=(1, 2)).mean()
    assert touched == pytest.approx(0.5, abs=0.1)


def test_no_share_changes_nothing():
    rng = np.random.default_rng(2)
    assert torch.equal(depths(5, (8, 8), 0.0, rng), torch.ones(5, 8, 8))
    noise = torch.randn(5, 8, 8)
    assert torch.equal(resampled(noise, 0.0, rng), noise)


def test_resampling_averages_neighbours():
    """Variances between a quarter and one, and neighbours correlated as a linear shift does it."""
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(300, 64, 64, generator=generator)
    out = resampled(noise, 1.0, np.random.default_rng(4)).double()
    variance = out.var(dim=(1, 2)).numpy()
    assert 0.2 < variance.min() < 0.35
    assert 0.9 < variance.max() < 1.1
    along_y = (out * torch.roll(out, 1, dims=-2)).mean(dim=(1, 2)).numpy() / variance
    along_x = (out * torch.roll(out, 1, dims=-1)).mean(dim=(1, 2)).numpy() / variance

    def variance_left(correlation):
        """(1 - a)^2 + a^2 of the a whose neighbours correlate so: a (1 - a) / that."""
        return 1.0 / (1.0 + 2.0 * np.clip(correlation, 0.0, None))

    np.testing.assert_allclose(variance, variance_left(along_y) * variance_left(along_x), atol=0.12)
    assert abs(float(out.mean())) < 0.01
