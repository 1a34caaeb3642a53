"""Run one fit: dataset, model and search in; report, figures and autofit's output folder out."""

import contextlib
import hashlib
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import autofit as af
import autolens as al
import numpy as np
from autofit.non_linear.initializer import AbstractInitializer
from autonerves import conf

from autolens_ml.applications.fit.progress import Progress
from autolens_ml.applications.fit.report import FitReport, report_from
from autolens_ml.exceptions import OptionError
from autolens_ml.plot import corner, subplot_fit

COMPILING = "compiling the likelihood (up to a minute the first time)"
# Half the default effective samples, three times the budget: real lenses have heavy tails.
_N_EFFECTIVE, _MAX_LIKELIHOOD_CALLS = 1000, 60_000


def _cnn(
    max_likelihood_calls: int | None, n_effective: int = _N_EFFECTIVE, **common: Any
) -> af.NonLinearSearch:
    from autolens_ml.search.cnn import CNN

    calls = max_likelihood_calls or _MAX_LIKELIHOOD_CALLS
    return CNN(n_effective=n_effective, max_likelihood_calls=calls, **common)


def _rim(
    max_likelihood_calls: int | None, n_effective: int = _N_EFFECTIVE, **common: Any
) -> af.NonLinearSearch:
    from autolens_ml.search.rim import RIM

    calls = max_likelihood_calls or _MAX_LIKELIHOOD_CALLS
    return RIM(n_effective=n_effective, max_likelihood_calls=calls, **common)


def _nautilus(
    max_likelihood_calls: int | None, n_effective: int | None = None, **common: Any
) -> af.NonLinearSearch:
    import jax

    if n_effective is not None:
        common["n_eff"] = n_effective
    if max_likelihood_calls is not None:
        common["n_like_max"] = max_likelihood_calls
    # On a CPU a batch of likelihoods is slower than the same likelihoods one by one. The argument
    # that says so is deprecated before anything else can say it.
    batched = None if jax.default_backend() == "gpu" else False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return af.Nautilus(n_live=150, use_jax_vmap=batched, **common)


SEARCHES: dict[str, Callable[..., af.NonLinearSearch]] = {
    "cnn": _cnn,
    "rim": _rim,
    "nautilus": _nautilus,
}


def search_from(
    search: str,
    *,
    name: str,
    unique_tag: str,
    seed: int | None = None,
    n_effective: int | None = None,
    max_likelihood_calls: int | None = None,
    initializer: AbstractInitializer | None = None,
) -> af.NonLinearSearch:
    """The autofit search that a name stands for.

    Parameters
    ----------
    search
        A key of `SEARCHES`.
    name, unique_tag
        Parts of the output folder, ``output/<unique_tag>/<name>/<hash>``.
    seed
        Seed of the search; None draws one.
    n_effective
        Effective samples that are enough; None takes the search's default.
    max_likelihood_calls
        Where the search gives up; None takes the search's default.
    initializer
        Where it starts; None leaves that to the search.

    Raises
    ------
    OptionError
        If there is no such search, or the budget is not positive.
    """
    if search not in SEARCHES:
        raise OptionError(f"no search {search!r}; set --search to one of {', '.join(SEARCHES)}")
    if max_likelihood_calls is not None and max_likelihood_calls < 1:
        raise OptionError(
            f"a budget of {max_likelihood_calls} likelihoods; set --max-likelihood-calls above 0"
        )
    if seed is not None and seed < 0:
        raise OptionError(f"seed {seed}; set --seed to 0 or more")
    common = {"name": name, "unique_tag": unique_tag, "seed": seed, "initializer": initializer}
    if n_effective is not None:
        common["n_effective"] = n_effective
    return SEARCHES[search](max_likelihood_calls, **common)


def fit_imaging(
    dataset: al.Imaging,
    model: af.AbstractPriorModel,
    *,
    search: str = "cnn",
    name: str = "lens",
    output: str | Path = "output",
    seed: int | None = None,
    n_effective: int | None = None,
    max_likelihood_calls: int | None = None,
    initializer: AbstractInitializer | None = None,
    truth: Mapping[str, float] | None = None,
    progress: Progress | None = None,
) -> FitReport:
    """Fit a masked dataset and write figures beside autofit's own output.

    Parameters
    ----------
    dataset
        The masked dataset.
    model
        A model with ``galaxies``.
    search
        A key of `SEARCHES`.
    name
        What the lens is called: the first part of the output folder. The dataset's fingerprint is
        added, so another image never reads this fit's result back.
    output
        The folder under which the fit writes.
    seed
        Seed of the search.
    n_effective
        Effective samples that are enough; None takes the search's default.
    max_likelihood_calls
        Where the search gives up; None takes the search's default.
    initializer
        Where the search starts; None leaves that to the search.
    truth
        True values by parameter path, printed beside the result and drawn in the corner plot.
    progress
        Called with one line whenever there is something new to say.

    Returns
    -------
    FitReport
        The numbers of the fit and the paths of its figures.

    Raises
    ------
    OptionError
        If the search's name or one of its options means nothing.
    """
    say = progress or (lambda line: None)
    with _output_folder(Path(output)):
        fit = search_from(
            search,
            name=search if seed is None else f"{search}_seed{seed}",
            unique_tag=f"{name}-{fingerprint(dataset)}",
            seed=seed,
            n_effective=n_effective,
            max_likelihood_calls=max_likelihood_calls,
            initializer=initializer,
        )
        start = time.perf_counter()
        say(COMPILING)
        analysis = al.AnalysisImaging(dataset=dataset, use_jax=True)
        fit.paths.model = model
        fit.paths.search = fit
        resumed = fit.paths.is_complete
        result = fit.fit(model=model, analysis=analysis)

        report = report_from(
            result.samples,
            search=search,
            seconds=time.perf_counter() - start,
            resumed=resumed,
            output=fit.paths.output_path,
            truth=truth,
        )
        say("drawing the figures")
        folder = fit.paths.image_path
        figures = (
            subplot_fit(result.max_log_likelihood_fit, folder / "lens_fit.png", title=name),
            corner(result.samples, folder / "corner.png", truth=truth),
        )
        for figure in figures:
            # Reading a fit back unpacks autofit's archive over the folder: put the figures in it as
            # well.
            fit.paths.preserve_in_zip(figure)
    return replace(report, figures=figures)


def fingerprint(dataset: al.Imaging) -> str:
    """Eight hexadecimal digits for the pixels, noise, PSF, mask and pixel scale of a dataset.

    autofit names an output folder by model and search alone; without this a second image fitted
    with the same model would read back the first one's result.
    """
    digest = hashlib.sha256()
    for array in (
        dataset.data.array,
        dataset.noise_map.array,
        dataset.psf.kernel.native.array,
        dataset.mask.array,
        dataset.pixel_scales,
    ):
        digest.update(np.ascontiguousarray(array, dtype=float).tobytes())
    return digest.hexdigest()[:8]


@contextlib.contextmanager
def _output_folder(output: Path) -> Iterator[None]:
    """autofit's output in ``output``, without its corner plots: they take minutes, ours seconds."""
    nest = conf.instance["visualize"]["plots_search"]["nest"]
    keys = ("corner_anesthetic", "corner_anesthetic_components")
    before = conf.instance.output_path, {key: nest[key] for key in keys if key in nest}
    conf.instance.output_path = output
    for key in keys:
        nest[key] = False
    try:
        yield
    finally:
        conf.instance.output_path = before[0]
        for key in keys:
            if key in before[1]:
                nest[key] = before[1][key]
            else:
                del nest[key]
