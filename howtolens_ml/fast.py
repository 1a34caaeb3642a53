"""The tutorials in seconds: every cell of a script runs, on few lenses and without its searches.

``python -m howtolens_ml.build --fast`` runs them so, and so do the tests. Numbers that a script
prints mean nothing then; what is found is a script that no longer runs.
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
from autonerves import conf

# autofit evaluates one likelihood in place of a search, and draws nothing.
ENVIRONMENT = {"PYAUTO_TEST_MODE": "2", "MPLBACKEND": "agg"}

# What is made smaller, by script. Each stands in its script once.
SMALLER: dict[str, dict[str, str]] = {
    # A search that is skipped writes no summary.
    "chapter_1_swap_the_search": {'"search.summary").read_text()': '"model.info").read_text()'},
    "chapter_3_train_your_own": {
        "n=1000, seed=5": "n=50, seed=5",
        "n_training=5000": "n_training=100",
        "n_validation=500": "n_validation=50",
        "n_steps=450": "n_steps=12",
        "validate_every=50": "validate_every=4",
        "[50, 150, 450]": "[4, 8, 12]",
        "n=1000, seed=0": "n=50, seed=0",
        "n=500, seed=0": "n=50, seed=0",
        "n=300, seed=9": "n=20, seed=9",
        "range(300)": "range(20)",
    },
    "chapter_4_uncertainty": {"n=400, seed=4": "n=40, seed=4", "(300, seed=1)": "(10, seed=1)"},
    "chapter_5_the_rim": {
        "import FineTuning, compared": "import FineTuning, Refinement, compared",
        "n_steps=40)": "n_steps=2)",
        "refined = reconstructor.reconstruct(dataset": (
            "refined = reconstructor.reconstruct(dataset, Refinement(n_steps=2)"
        ),
        "[with_subhalo, true_source])": "[with_subhalo, true_source]), Refinement(n_steps=2)",
        "[with_light, true_source])": "[with_light, true_source]), Refinement(n_steps=2)",
    },
    # One of the galaxies that are drawn is used.
    "chapter_6_neural_sources": {
        "from autolens_ml.training.map_sets import population_of": (
            "from autolens_ml.training import map_sets\n"
            "from autolens_ml.training.map_sets import population_of\n"
            "map_sets._N_DRAWN = 64"
        ),
    },
    "chapter_7_finding_lenses": {
        'bands=["VIS"]), 256, seed=7': 'bands=["VIS"]), 48, seed=7',
        'bands=["VIS"]), 64, seed=70': 'bands=["VIS"]), 8, seed=70',
        "range(0, 64, 32)": "range(0, 8, 32)",
        "window=8,": "window=40,",
        "n_draws=4, window=34": "n_draws=2, window=68",
        "name, n_draws=4": "name, n_draws=2",
    },
    "chapter_8_morphology_and_anomalies": {
        "population, 128, seed=8": "population, 32, seed=8",
        "light, 64, seed=9": "light, 8, seed=9",
        "galaxies, 12, seed=10": "galaxies, 2, seed=10",
    },
    "chapter_9_weak_lensing_shear": {
        "np.full(3000, shear)": "np.full(300, shear)",
        "population, 3000, seed=2": "population, 300, seed=2",
    },
    "chapter_10_catalogues": {
        "N = 64\n": "N = 48\n",
        "plt.subplots(4, 16": "plt.subplots(3, 16",
        "{results} --workers 2": "{results} --workers 1",
    },
}


def smaller(script: Path) -> str:
    """The text of a script, with the numbers that make it quick.

    Raises
    ------
    ValueError
        When one of those numbers is not in the script, or more than once.
    """
    text = script.read_text()
    for old, new in SMALLER.get(script.stem, {}).items():
        if text.count(old) != 1:
            raise ValueError(f"{script.name}: {old!r} is there {text.count(old)} times, not once")
        text = text.replace(old, new)
    return text


def run(script: Path, folder: Path) -> None:
    """Run a script quickly, with its files in a folder; raises what the script raises."""
    run_text(smaller(script), script.name, folder)


def run_text(text: str, name: str, folder: Path) -> None:
    """Run Python text without its searches, with its files in a folder.

    Parameters
    ----------
    text
        What to run; it may import modules that are in the folder.
    name
        For messages.
    folder
        An existing one.
    """
    code = compile(text, name, "exec")
    with _at(folder), plt.rc_context(), warnings.catch_warnings():
        plt.switch_backend(ENVIRONMENT["MPLBACKEND"])
        try:
            exec(code, {"__name__": "__main__"})
        finally:
            plt.close("all")


@contextlib.contextmanager
def _at(folder: Path) -> Iterator[None]:
    """With a working folder, autofit's output in it, and the environment of a quick run."""
    environment, output, places = dict(os.environ), conf.instance.output_path, sys.path.copy()
    os.environ |= ENVIRONMENT
    conf.instance.output_path = str(folder / "output")
    sys.path.insert(0, str(folder))
    try:
        with contextlib.chdir(folder):
            yield
    finally:
        conf.instance.output_path = output
        sys.path[:] = places
        os.environ.clear()
        os.environ |= environment
