"""Runs of a task that costs nothing."""

import pytest

from autolens_ml.catalogue import tasks


@pytest.fixture
def chore(monkeypatch):
    """The task ``chore``, known to this process; workers are given it."""
    monkeypatch.setitem(tasks.TASKS, "chore", "tests.catalogue.chores")
