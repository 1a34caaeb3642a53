"""A lens with a vortex is simulated, and a search recovers the vortex's mass and prefers it."""

import pytest

from benchmarks.vortex import TRUE_EINSTEIN_RADIUS, recovery


@pytest.mark.slow
def test_the_search_recovers_the_mass_of_the_vortex(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = recovery()
    assert found.low < TRUE_EINSTEIN_RADIUS < found.high
    assert found.high - found.low < 0.5 * TRUE_EINSTEIN_RADIUS
    assert found.log_evidence_gain > 10.0
