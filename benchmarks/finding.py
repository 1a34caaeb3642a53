"""Networks that find lenses: ``python -m benchmarks.finding`` writes ``results/finding.md``.

- Figures of merit of every network for lens finding that is there, of its card, as
  ``autolens-ml evaluate`` measured them; beside the published ones.
- A real lens: its probability, and where occlusion says that it is seen.
- Whether explanations depend on what was learned: how maps of lenses correlate with those of the
  same network with random weights.
- What is lost when cut-outs are not centred.
- Speed, of networks alone and of ``autolens-ml find`` over files. Run this on a quiet machine.

What was measured is kept in ``results/finding``, and an interrupted call goes on.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from astropy.io import fits
from autofit.tools.util import open_atomic

from autolens_ml.applications.finder.cutouts import Candidate, cutout_from
from autolens_ml.applications.finder.find import find, probabilities_of
from autolens_ml.exceptions import NetworkError
from autolens_ml.explain import METHODS, occlusion_map, sanity_check
from autolens_ml.networks.architectures import stored_network
from autolens_ml.networks.checkpoint import Card, find_card
from autolens_ml.networks.finder import Finder
from autolens_ml.plot.explain_plots import map_plot, sanity_plot
from autolens_ml.simulate.finding.systems import FindingPopulation
from autolens_ml.training.detection import THRESHOLD
from autolens_ml.training.finding import grid_of
from autolens_ml.training.finding_set import FindingSource
from autolens_ml.training.merit import speed_of
from benchmarks.search import machine

RESULTS = Path(__file__).parent / "results"
STORE = RESULTS / "finding"
REAL_LENS = Path(__file__).parents[2] / "shared" / "data" / "euclid_q1_102018665.fits"
NETWORKS = (
    *("finder-vis", "ou-200-vis", "ou-66-j", "ou-66-y", "ou-66-h"),
    *("ou-66-jyh", "ou-66", "ou-200"),
)
FIGURES = {
    "auc": "AUC",
    "f1": "F1",
    "f_beta": "F-beta",
    "tpr_0": "TPR0",
    "tpr_10": "TPR10",
    "recall_compound_arcs": "compound arcs",
    "recall_double_ring": "double rings",
}
# Arcs of the real lens, in arcsec from its middle; windows of occlusion a side, in arcsec.
ARCS, WINDOW = (0.5, 1.4), 0.6
# Systems of the tests of explanations, and of centring; arcsec off the middle.
N_EXPLAINED, N_MOVED, OFFSETS = 2, 512, (0.0, 0.2, 0.4, 0.6, 1.0)
N_FILES = 2000
SEED = 90


def known() -> dict[str, Card]:
    """Cards of those networks that are there."""
    cards = {}
    for name in NETWORKS:
        try:
            cards[name] = find_card(name)
        except NetworkError as error:
            print(f"left out: {error}")
    return cards


def stored(part: str, card: Card, make: Callable[[], dict]) -> dict:
    """What was measured of a network; measured now, if it was not or of other weights."""
    path = STORE / f"{part}-{card.name}.json"
    if path.is_file() and (found := json.loads(path.read_text()))["sha256"] == card.sha256:
        return found
    found = {"sha256": card.sha256, **make()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_atomic(path) as stream:
        stream.write(json.dumps(found, indent=1))
    print(f"{part} {card.name}: {found}", flush=True)
    return found


def systems_of(card: Card, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut-outs in a typical observation, as a network takes them, and which are lenses."""
    bands, shape, pixel_scale = grid_of(card)
    rng = np.random.default_rng(SEED)
    images, lenses = [], []
    for systems in FindingPopulation(bands=bands).batches(n, SEED):
        source = FindingSource(systems, bands, shape, pixel_scale, augment=False)
        images.append(source.batch_from(np.arange(len(systems)), rng).images.numpy())
        lenses.append(systems.is_lens)
    return np.concatenate(images), np.concatenate(lenses)


def real_lens(card: Card) -> dict[str, float]:
    """Probability of the Euclid lens, and where what speaks for it is."""
    bands, shape, pixel_scale = grid_of(card)
    network = stored_network(card)
    image = cutout_from(Candidate(REAL_LENS.name, {"": REAL_LENS}), bands, shape, pixel_scale)
    window = max(1, round(WINDOW / pixel_scale))
    maps = occlusion_map(
        network, image, window=window, stride=max(1, window // 2), log_odds=True
    ).sum(axis=0)
    radius = _radii(shape, pixel_scale)
    arcs = (radius >= ARCS[0]) & (radius <= ARCS[1])
    negative = np.clip(-maps, 0.0, None)
    return {
        "probability": float(probabilities_of(network, image[None])[0]),
        "share_on_arcs": float(negative[arcs].sum() / negative.sum()),
        "share_of_area": float(arcs.mean()),
        "radius_of_lowest": float(radius.flat[np.argmin(maps)]),
    }


def _radii(shape: tuple[int, int], pixel_scale: float) -> np.ndarray:
    y, x = ((np.arange(side) - 0.5 * (side - 1)) * pixel_scale for side in shape)
    return np.hypot(y[:, None], x[None, :])


def explained(card: Card) -> dict[str, dict[str, float]]:
    """Correlations of maps of lenses with those of random networks, by method."""
    network = stored_network(card)
    images, lenses = systems_of(card, 32)
    p = probabilities_of(network, images)
    own: dict[str, dict[str, object]] = {name: {} for name in METHODS}
    own["occlusion"] = {"window": max(1, network.side // 12), "log_odds": True}
    # The surest lenses whose maps have a structure that they could lose.
    surest = []
    for row in np.argsort(np.where(lenses, -p, 1.0)):
        maps = (method(network, images[row], **own[name]) for name, method in METHODS.items())
        if all(np.ptp(values) > 0.0 for values in maps):
            surest.append(row)
        if len(surest) == N_EXPLAINED:
            break
    results = {
        name: sanity_check(network, images[surest], name, seed=SEED, **own[name])
        for name in METHODS
    }
    sanity_plot(results, STORE / f"sanity-{card.name}.png", title=card.name)
    map_plot(
        images[surest[0]],
        occlusion_map(network, images[surest[0]], log_odds=True),
        STORE / f"occlusion-{card.name}.png",
        bands=list(card.bands),
        pixel_scale=card.inputs["pixel_scale"],
        label="Change of log-odds when hidden",
        title=f"{card.name}: a simulated lens, p = {p[surest[0]]:.3f}",
    )
    return {
        name: {**result.figure(), "passed": bool(result.passed)} for name, result in results.items()
    }


def moved(card: Card) -> dict[str, dict[str, float]]:
    """Shares of lenses that are found, and of others that are called lenses, off the middle."""
    network = stored_network(card)
    images, lenses = systems_of(card, N_MOVED)
    pixels = np.asarray(OFFSETS) / card.inputs["pixel_scale"]
    return {
        f"{offset:g}": {
            "found": float(said[lenses].mean()),
            "mistaken": float(said[~lenses].mean()),
        }
        for offset, by in zip(OFFSETS, pixels, strict=True)
        for said in [_probabilities(network, images, round(by)) > THRESHOLD]
    }


def speed(card: Card) -> dict[str, float]:
    """Stamps per second with all cores, by the network alone and from files to a table."""
    bands, shape, pixel_scale = grid_of(card)
    network = stored_network(card)
    images = np.random.default_rng(SEED).normal(size=(256, len(bands), *shape)).astype("f4")
    alone = speed_of(lambda: probabilities_of(network, images), len(images))
    with tempfile.TemporaryDirectory() as folder:
        for i in range(N_FILES):
            header = fits.Header({"PIXSCALE": pixel_scale})
            planes = zip(bands, images[i % len(images)], strict=True)
            units = [fits.ImageHDU(plane, header, name=band) for band, plane in planes]
            fits.HDUList([fits.PrimaryHDU(), *units]).writeto(Path(folder) / f"{i}.fits")
        report = find([folder], network=card.path, output=Path(folder) / "table.csv")
    return {
        "alone": alone["value"],
        "from_files": report.n_looked / report.seconds,
        "load": os.getloadavg()[0],
    }


def _probabilities(network: Finder, images: np.ndarray, by: int) -> np.ndarray:
    """Of images moved by so many pixels along y; edges hold their own noise."""
    rolled = images if not by else np.roll(images, by, axis=-2)
    return np.concatenate(
        [probabilities_of(network, rolled[i : i + 64]) for i in range(0, len(rolled), 64)]
    )


def _cell(figure: dict[str, float]) -> str:
    return f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"


def _merit_lines(cards: dict[str, Card]) -> list[str]:
    lines = [
        "Figures of merit of the cards, by `autolens-ml evaluate NAME --n N --seed 0`: AUC, F1 at",
        f"p > {THRESHOLD:g}, F-beta (beta^2 = 0.001, the best threshold), TPR before the first and",
        "the tenth false positive; recall of compound lenses, a tenth as many. Intervals hold 95 %",
        "of bootstraps. Half of the systems are lenses; which of the others deceive a network is",
        "told by chapter 7.",
        "",
        f"| network | bands | weights | N | {' | '.join(FIGURES.values())} |",
        f"|---|---|{'---:|' * (2 + len(FIGURES))}",
    ]
    for name, card in cards.items():
        cells = [_cell(card.metrics[figure]) for figure in FIGURES]
        n = card.metrics["auc"]["n"]
        lines.append(
            f"| {name} | {' '.join(card.bands)} | {card.n_parameters:,} | {n:,} | "
            f"{' | '.join(cells)} |"
        )
    return [
        *lines,
        "| published (Wilde et al. 2022, other sets) | | | 100,000 | | 0.83 to 0.91 | | | | 0.76 | "
        "0.52 |",
        "",
        "Published systems were made by another simulator, with other priors and other non-lenses:",
        "equal numbers do not mean equal difficulty.",
        "",
    ]


def _real_lines(cards: dict[str, Card]) -> list[str]:
    if not REAL_LENS.is_file():
        return []
    lines = [
        "## A real lens",
        "",
        "Euclid Q1 102018665. Its arcs are 0.8 to 1.0 arcsec from the middle. `Share` is that of",
        f"what occlusion (squares of {WINDOW:g} arcsec, log-odds) says speaks for a lens that lies",
        f"{ARCS[0]:g} to {ARCS[1]:g} arcsec from the middle; `by chance`, of an even map.",
        "",
        "| network | probability | share | by chance | lowest at [arcsec] |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, card in cards.items():
        row = stored("real", card, lambda card=card: real_lens(card))
        lines.append(
            f"| {name} | {row['probability']:.3f} | {row['share_on_arcs']:.2f} | "
            f"{row['share_of_area']:.2f} | {row['radius_of_lowest']:.1f} |"
        )
    return [*lines, ""]


def _sanity_lines(cards: dict[str, Card]) -> list[str]:
    lines = [
        "## Do explanations depend on what was learned?",
        "",
        f"Rank correlation of maps of {N_EXPLAINED} lenses, by the network and by the same network",
        "with all weights random (4 draws; mean and two standard errors). Below 0.5 a map has lost",
        "its structure, as it must.",
        "",
        f"| network | {' | '.join(METHODS)} |",
        f"|---|{'---:|' * len(METHODS)}",
    ]
    for name, card in cards.items():
        row = stored("sanity", card, lambda card=card: explained(card))
        cells = [
            f"{row[method]['value']:.2f} ({row[method]['low']:.2f} to {row[method]['high']:.2f})"
            + ("" if row[method]["passed"] else ", fails")
            for method in METHODS
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    for name in cards:
        lines += [
            "",
            f"![{name}: correlation while layers become random](finding/sanity-{name}.png)",
            "",
            f"![{name}: occlusion of a simulated lens](finding/occlusion-{name}.png)",
        ]
    return [*lines, ""]


def _moved_lines(cards: dict[str, Card]) -> list[str]:
    lines = [
        "## Cut-outs that are not centred",
        "",
        f"Share of lenses found / of others called lenses, of {N_MOVED} systems moved by so many",
        "arcsec.",
        "",
        f"| network | {' | '.join(f'{offset:g}' for offset in OFFSETS)} |",
        f"|---|{'---:|' * len(OFFSETS)}",
    ]
    for name, card in cards.items():
        row = stored("moved", card, lambda card=card: moved(card))
        cells = [
            f"{row[f'{offset:g}']['found']:.2f} / {row[f'{offset:g}']['mistaken']:.2f}"
            for offset in OFFSETS
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return [*lines, ""]


def _speed_lines(cards: dict[str, Card]) -> list[str]:
    lines = [
        "## Speed",
        "",
        "Stamps per second, on as many cores as there are: the network alone on 256 stamps, and",
        f"`autolens-ml find` on {N_FILES:,} FITS files. Load is of the machine, over a minute.",
        "",
        "| network | pixels | alone | from files | load |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, card in cards.items():
        row = stored("speed", card, lambda card=card: speed(card))
        lines.append(
            f"| {name} | {len(card.bands)} x {card.inputs['shape'][0]}^2 | {row['alone']:,.0f} | "
            f"{row['from_files']:,.0f} | {row['load']:.1f} |"
        )
    return [*lines, ""]


def main() -> Path:
    """Measure what is missing and write the page."""
    cards = known()
    lines = ["# Networks that find lenses", "", "`python -m benchmarks.finding`.", ""]
    for part in (_merit_lines, _real_lines, _moved_lines, _speed_lines, _sanity_lines):
        lines += part(cards)
    lines.append(f"Machine: {', '.join(f'{key} {value}' for key, value in machine().items())}.")
    path = RESULTS / "finding.md"
    with open_atomic(path, "w") as file:
        file.write("\n".join(lines) + "\n")
    return path


if __name__ == "__main__":
    argparse.ArgumentParser(prog="benchmarks.finding", description=__doc__).parse_args()
    print(main())
