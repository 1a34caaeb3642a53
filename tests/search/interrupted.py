"""A fit in a process of its own that kills itself: ``python -m tests.search.interrupted``.

It is killed by SIGKILL, as by a cluster's scheduler: nothing can be cleaned up or flushed.
"""

import argparse
import json
import os
import signal
from pathlib import Path

import numpy as np
from autofit.non_linear.checkpoint import Checkpointer
from autonerves import conf

import autolens_ml as aml
from tests.search import targets

SETTINGS = {"network": None, "n_effective": 300, "n_draws": 64, "n_polish": 2, "seed": 1}
CLIMBS = {"starts": None, "n_starts": 6, "n_steps": 40}


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Mortal(targets.Curved):
    """A numpy analysis that counts its likelihoods and dies at one of them."""

    def __init__(self, dies_at: int | None, use_jax: bool):
        super().__init__(use_jax=use_jax)
        self.dies_at, self.n_calls = dies_at, 0

    def log_likelihood_function(self, instance):
        self.n_calls += 1
        if self.n_calls == self.dies_at:
            _die()
        return super().log_likelihood_function(instance)


def die_at_checkpoint(number: int, *, before: bool) -> None:
    """Die just before or just after a checkpoint of the resume state is written."""
    resume_state = type(aml.CNN.resume_state)
    save = resume_state.save
    count = 0

    def saved(self: Checkpointer, paths, obj) -> None:
        nonlocal count
        count += self == aml.CNN.resume_state
        if before and count == number:
            _die()
        save(self, paths, obj)
        if count == number:
            _die()

    resume_state.save = saved


def main() -> None:
    """Fit, and store what a user can see of the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--use-jax", action="store_true")
    parser.add_argument("--dies-at-likelihood", type=int)
    parser.add_argument("--dies-at-checkpoint", type=int)
    parser.add_argument("--before", action="store_true")
    parser.add_argument("--network", type=Path)
    parser.add_argument("--search", choices=("CNN", "RIM"), default="CNN")
    arguments = parser.parse_args()
    conf.instance.output_path = str(arguments.folder)
    if arguments.dies_at_checkpoint:
        die_at_checkpoint(arguments.dies_at_checkpoint, before=arguments.before)
    analysis = Mortal(dies_at=arguments.dies_at_likelihood, use_jax=arguments.use_jax)
    settings = dict(SETTINGS)
    if arguments.search == "RIM":
        settings |= {**CLIMBS, "network": arguments.network}
    elif arguments.network:
        from tests.search import observed  # PyAutoLens: only where there is an image

        settings["network"] = arguments.network
        analysis.dataset = observed.image()
    search = getattr(aml, arguments.search)(name="fit", **settings)
    samples = search.fit(model=targets.model(), analysis=analysis).samples
    np.savez(
        arguments.folder / "samples.npz",
        parameters=samples.parameter_lists,
        weights=samples.weight_list,
        log_likelihoods=samples.log_likelihood_list,
        log_priors=samples.log_prior_list,
    )
    info = {key: value for key, value in samples.samples_info.items() if key != "time"}
    info["calls"] = analysis.n_calls
    (arguments.folder / "info.json").write_text(json.dumps(info, default=float))


if __name__ == "__main__":
    main()
