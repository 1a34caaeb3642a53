"""A file in; maps or images, a figure and an animation out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from autofit.tools.util import open_atomic

from autolens_ml.applications.finder.cutouts import (
    Candidate,
    cutout_from,
    grids_from,
)
from autolens_ml.applications.finder.find import finder_card, probabilities_of
from autolens_ml.applications.fit.progress import Progress
from autolens_ml.exceptions import OptionError
from autolens_ml.explain.attribution import (
    grad_cam,
    guided_backprop,
    guided_grad_cam,
    occlusion_map,
    usual_window,
)
from autolens_ml.explain.kernels import kernel_answers
from autolens_ml.explain.layers import layer_from
from autolens_ml.explain.maximise import (
    Maximised,
    class_image,
    deep_dream,
    exciting_images,
)
from autolens_ml.explain.sanity import sanity_checks
from autolens_ml.networks.architectures import stored_network
from autolens_ml.networks.finder import Finder
from autolens_ml.plot import explain_plots
from autolens_ml.simulate.finding.grid import regridded
from autolens_ml.training.finding import grid_of

__all__ = ["CLASSES", "EXPLANATIONS", "Explanation", "Options", "explain_file"]

CLASSES = {"lens": True, "no-lens": False}
_EXCITED = 8


@dataclass(frozen=True, kw_only=True)
class Options:
    """What may be chosen, by the names of the command line.

    Attributes
    ----------
    of : str
        The class that is explained, a key of ``CLASSES``.
    layer : int or None
        Number of a convolution, from 1, for Grad-CAM and for kernels to excite.
    kernels : sequence of int
        Numbers of the kernels to excite, from 0; by default those that vary most on the cut-out.
    window : int or None
        Pixels a side of the squares of occlusion.
    by_band : bool
        Whether occlusion hides bands one at a time.
    log_odds : bool
        Whether occlusion shows the change of log-odds, instead of the probability.
    steps : int
        Of activation maximisation.
    draws : int
        Of the weights, for the sanity check.
    pixel_scale : float or None
        arcsec per pixel of the file; by default from its header.
    seed : int
        Of all that is drawn.
    """

    of: str = "lens"
    layer: int | None = None
    kernels: Sequence[int] = ()
    window: int | None = None
    by_band: bool = False
    log_odds: bool = False
    steps: int = 96
    draws: int = 4
    pixel_scale: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.of not in CLASSES:
            raise OptionError(f"class {self.of!r}: choose {' or '.join(CLASSES)}")
        if self.seed < 0:
            raise OptionError(f"a seed of {self.seed}; set --seed to at least 0")
        if self.pixel_scale is not None and not 0.0 < self.pixel_scale < np.inf:
            raise OptionError(f"pixels of {self.pixel_scale} arcsec; set --pixel-scale above 0")


@dataclass(frozen=True)
class Explanation:
    """What was made.

    Attributes
    ----------
    method, network : str
        Names.
    probability : float
        Of the cut-out to be a lens.
    files : tuple of Path
        Figure, animation, and FITS file where there are maps or images.
    figures : dict
        Numbers of the method.
    """

    method: str
    network: str
    probability: float
    files: tuple[Path, ...]
    figures: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**vars(self), "files": [str(file) for file in self.files]}

    def __str__(self) -> str:
        lines = [f"{self.network}: probability of a lens {self.probability:.4f}"]
        lines += [f"{name}: {value}" for name, value in self.figures.items()]
        return "\n".join([*lines, *map(str, self.files)])


@dataclass(frozen=True)
class _Subject:
    """A cut-out in front of a network."""

    network: Finder
    image: np.ndarray
    options: Options
    # What all figures show.
    shown: dict[str, Any]
    progress: Progress

    @property
    def lens(self) -> bool:
        return CLASSES[self.options.of]


@dataclass(frozen=True)
class _Made:
    """What a method made, before it is written."""

    plot: Callable[[Path], Path]
    animation: Callable[[Path], Path]
    maps: np.ndarray | None = None
    images: np.ndarray | None = None
    figures: dict[str, Any] = field(default_factory=dict)


type _Method = Callable[[_Subject], _Made]


def explain_file(
    path: str | Path,
    *,
    network: str | Path = "finder-vis",
    method: str = "occlusion",
    output: str | Path = "explanations",
    options: Options | None = None,
    progress: Progress = lambda line: None,
) -> Explanation:
    """Explain what a network sees in a cut-out.

    Maps are stored in the pixels of the file, images in those of the network.

    Parameters
    ----------
    path
        A FITS file, as `find` takes it.
    network
        A network for lens finding, by name or path.
    method
        A key of ``EXPLANATIONS``.
    output
        The folder of ``FILE-METHOD.png``, ``.gif`` and ``.fits``, made if need be.
    options
        Of the method.
    progress
        Takes a line at a time.

    Raises
    ------
    DataError
        When the file cannot be read, or has not the bands of the network.
    NetworkError
        When there is no such network for lens finding.
    OptionError
        When there is no such method, captum is not installed, or an option is out of its range.
    """
    if method not in EXPLANATIONS:
        raise OptionError(f"method {method!r}: choose {', '.join(EXPLANATIONS)}")
    options = options or Options()
    card = finder_card(network)
    bands, shape, pixel_scale = grid_of(card)
    path, output = Path(path), Path(output)
    candidate = Candidate(path.name, {"": path})
    image = cutout_from(candidate, bands, shape, pixel_scale, options.pixel_scale)
    finder = stored_network(card)
    probability = float(probabilities_of(finder, image[None])[0])
    progress(f"{path.name}: probability of a lens {probability:.4f}")
    shown = {
        "bands": bands,
        "pixel_scale": pixel_scale,
        "title": f"{path.name}: {method}, {card.name}, p = {probability:.3f}",
    }
    made = EXPLANATIONS[method](_Subject(finder, image, options, shown, progress))
    output.mkdir(parents=True, exist_ok=True)
    name = f"{path.name.split('.fit')[0]}-{method}"
    files = [made.plot(output / f"{name}.png"), made.animation(output / f"{name}.gif")]
    header = fits.Header({"METHOD": method, "NETWORK": card.name, "CLASS": options.of})
    if made.maps is not None:
        planes = _on_file(made.maps, path, bands, pixel_scale, options.pixel_scale)
        files.append(_store(output / f"{name}.fits", planes, header))
    if made.images is not None:
        planes = {
            f"{band}_{i}": (image[j], pixel_scale)
            for i, image in enumerate(made.images)
            for j, band in enumerate(bands)
        }
        files.append(_store(output / f"{name}.fits", planes, header))
    return Explanation(method, card.name, probability, tuple(files), made.figures)


def _occlusion(subject: _Subject) -> _Made:
    options = subject.options
    own = {name: getattr(options, name) for name in ("window", "by_band", "log_odds")}
    maps = occlusion_map(subject.network, subject.image, lens=subject.lens, **own)
    label = f"Change of {'log-odds' if options.log_odds else 'probability'} when hidden"
    shown = {**subject.shown, "label": label}
    window = options.window or usual_window(subject.network.side)
    return _Made(
        lambda path: explain_plots.map_plot(subject.image, maps, path, **shown),
        lambda path: explain_plots.occlusion_animation(
            subject.image, maps, path, window=window, **shown
        ),
        maps=maps,
        figures={"lowest": float(maps.min()), "highest": float(maps.max())},
    )


def _by_gradient(method: Callable[..., np.ndarray], label: str, layered: bool) -> _Method:
    def explained(subject: _Subject) -> _Made:
        own = {"layer": subject.options.layer} if layered else {}
        maps = method(subject.network, subject.image, lens=subject.lens, **own)
        return _Made(
            lambda path: explain_plots.map_plot(
                subject.image, maps, path, label=label, **subject.shown
            ),
            lambda path: explain_plots.map_animation(subject.image, maps, path, **subject.shown),
            maps=maps,
        )

    return explained


def _kernels(subject: _Subject) -> _Made:
    answers = kernel_answers(subject.network, subject.image)
    title = subject.shown["title"]
    return _Made(
        lambda path: explain_plots.kernels_plot(answers, path, title=title),
        lambda path: explain_plots.kernels_animation(answers, path, title=title),
        figures={"kernels": sum(len(answer.maps) for answer in answers)},
    )


def _class_image(subject: _Subject) -> _Made:
    options = subject.options
    result = class_image(
        subject.network, lens=subject.lens, seed=options.seed, n_steps=options.steps
    )
    return _maximised(subject, result)


def _deep_dream(subject: _Subject) -> _Made:
    options = subject.options
    result = deep_dream(
        subject.network,
        subject.image,
        lens=subject.lens,
        seed=options.seed,
        n_steps=options.steps,
    )
    return _maximised(subject, result)


def _excite(subject: _Subject) -> _Made:
    options = subject.options
    layer = layer_from(subject.network, options.layer)
    kernels = list(options.kernels)
    if not kernels:
        answers = kernel_answers(subject.network, subject.image)[layer.number - 1]
        kernels = answers.strongest(_EXCITED).tolist()
    result = exciting_images(
        subject.network, layer.number, kernels, seed=options.seed, n_steps=options.steps
    )
    names = [f"layer {layer.number}, kernel {kernel}" for kernel in kernels]
    return _maximised(subject, result, names)


def _maximised(subject: _Subject, result: Maximised, names: list[str] | None = None) -> _Made:
    title = subject.shown["title"]
    found = probabilities_of(subject.network, result.images)
    return _Made(
        lambda path: explain_plots.maximised_plot(result, path, names=names, **subject.shown),
        lambda path: explain_plots.maximised_animation(result, path, names=names, title=title),
        images=result.images,
        figures={
            "before": result.scores[0].tolist(),
            "after": result.scores[-1].tolist(),
            "probabilities of the images": found.tolist(),
        },
    )


def _sanity(subject: _Subject) -> _Made:
    results = sanity_checks(
        subject.network,
        subject.image[None],
        window=subject.options.window,
        n_draws=subject.options.draws,
        seed=subject.options.seed,
        progress=subject.progress,
        lens=subject.lens,
    )
    title = subject.shown["title"]
    return _Made(
        lambda path: explain_plots.sanity_plot(results, path, title=title),
        lambda path: explain_plots.sanity_animation(results, path, title=title),
        figures={
            name: {**result.figure(), "passed": result.passed} for name, result in results.items()
        },
    )


EXPLANATIONS: dict[str, _Method] = {
    "occlusion": _occlusion,
    "grad-cam": _by_gradient(grad_cam, "Grad-CAM", layered=True),
    "guided-backprop": _by_gradient(guided_backprop, "Guided gradient", layered=False),
    "guided-grad-cam": _by_gradient(guided_grad_cam, "Guided Grad-CAM", layered=True),
    "kernels": _kernels,
    "class-image": _class_image,
    "deep-dream": _deep_dream,
    "excite": _excite,
    "sanity": _sanity,
}


def _on_file(
    maps: np.ndarray,
    path: Path,
    bands: Sequence[str],
    pixel_scale: float,
    given: float | None,
) -> dict[str, tuple[np.ndarray, float]]:
    """Maps on the pixels of a file, by band, and arcsec per pixel."""
    shared = len(maps) == 1 and len(bands) > 1
    names = ["ALL"] if shared else bands
    found = {}
    for name, plane, grid in zip(names, maps, grids_from(path, bands, given), strict=False):
        shape, scale = grid
        found[name] = regridded(plane, pixel_scale, shape, scale), scale
    return found


def _store(path: Path, planes: dict[str, tuple[np.ndarray, float]], header: fits.Header) -> Path:
    units: list[Any] = [fits.PrimaryHDU(header=header)]
    for name, (plane, scale) in planes.items():
        cards = fits.Header({"PIXSCALE": scale})
        units.append(fits.ImageHDU(plane.astype(np.float32), cards, name=name))
    with open_atomic(path, "wb") as stream:
        fits.HDUList(units).writeto(stream)
    return path
