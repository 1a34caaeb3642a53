"""A lens with a vortex is simulated, and a search recovers the vortex's mass and prefers it."""

import autolens as al
import pytest

import autolens_ml as aml
from benchmarks import vortex
from benchmarks.vortex import TRUE_EINSTEIN_RADIUS


def quickly_fitted(name, model, dataset):
    """The benchmark's fit with a smaller budget, and nothing written."""
    search = aml.CNN(
        network=None, n_effective=200, n_draws=128, n_polish=2, max_likelihood_calls=8000, seed=3
    )
    return search.fit(model=model, analysis=al.AnalysisImaging(dataset=dataset, use_jax=True))


@pytest.mark.slow
def test_the_search_recovers_the_mass_of_the_vortex(monkeypatch):
    monkeypatch.setenv("PYAUTO_SKIP_LATENTS", "1")
    monkeypatch.setattr(vortex, "fitted", quickly_fitted)
    found = vortex.recovery()
    assert found.low < TRUE_EINSTEIN_RADIUS < found.high
    assert found.high - found.low < 0.5 * TRUE_EINSTEIN_RADIUS
    assert found.log_evidence_gain > 10.0
