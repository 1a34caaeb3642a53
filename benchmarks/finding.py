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
from itertools import islice
from pathlib import Path

import numpy as np
from astropy.io import fits
from autofit.tools.util import open_atomic

from autolens_ml.applications.finder.cutouts import Candidate, cutout_from
from autolens_ml.applications.finder.find import find, probabilities_of
from autolens_ml.explain import METHODS, grad_cam, occlusion_map, sanity_checks
from autolens_ml.networks.architectures import stored_network
from autolens_ml.networks.checkpoint import Card
from autolens_ml.plot.explain_plots import map_plot, sanity_plot
from autolens_ml.simulate.finding.systems import FindingPopulation
from autolens_ml.training.detection import THRESHOLD
from autolens_ml.training.finding import grid_of
from autolens_ml.training.finding_set import FindingSource
from autolens_ml.training.merit import speed_of
from benchmarks.page import known, table, words, write
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
# Systems of the tests of explanations, and of centring; arcsec off the middle, whole pixels of all.
N_CANDIDATES, N_EXPLAINED, N_DRAWS = 32, 4, 8
N_MOVED, OFFSETS = 512, (0.0, 0.3, 0.6, 0.9)
N_FILES = 2000
SEED = 90


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
    images, lenses = systems_of(card, N_CANDIDATES)
    p = probabilities_of(network, images)
    # The surest lenses; Grad-CAM of some is zero everywhere, and has no structure to lose.
    order = np.argsort(np.where(lenses, -p, 1.0))
    explained = (row for row in order if np.ptp(grad_cam(network, images[row])) > 0.0)
    surest = list(islice(explained, N_EXPLAINED))
    results = sanity_checks(network, images[surest], n_draws=N_DRAWS, seed=SEED)
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
    shares = {}
    for offset in OFFSETS:
        # Edges wrap around: they hold sky of their own noise.
        pixels = round(offset / card.inputs["pixel_scale"])
        said = probabilities_of(network, np.roll(images, pixels, axis=-2)) > THRESHOLD
        shares[f"{offset:g}"] = {
            "found": float(said[lenses].mean()),
            "mistaken": float(said[~lenses].mean()),
        }
    return shares


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


def _merit_lines(cards: dict[str, Card]) -> list[str]:
    heads = ["network", "bands", "weights", "N", *FIGURES.values()]
    rows = [
        [
            name,
            " ".join(card.bands),
            f"{card.n_parameters:,}",
            f"{card.metrics['auc']['n']:,}",
            *(words(card.metrics[figure]) for figure in FIGURES),
        ]
        for name, card in cards.items()
    ]
    own = {"N": "100,000", "F1": "0.83 to 0.91", "compound arcs": "0.76", "double rings": "0.52"}
    published = "published (Wilde et al. 2022, other sets)"
    rows.append([published, *(own.get(head, "") for head in heads[1:])])
    return [
        "Figures of merit of the cards, by `autolens-ml evaluate NAME --n N --seed 0`: AUC, F1 at",
        f"p > {THRESHOLD:g}, F-beta (beta^2 = 0.001, the best threshold), TPR before the first and",
        "the tenth false positive; recall of compound lenses, a tenth as many. Intervals hold 95 %",
        "of bootstraps. Half of the systems are lenses; which of the others deceive a network is",
        "told by chapter 7.",
        "",
        *table(heads, rows),
        "Published systems were made by another simulator, with other priors and other non-lenses:",
        "equal numbers do not mean equal difficulty.",
        "",
    ]


def _real_lines(cards: dict[str, Card]) -> list[str]:
    if not REAL_LENS.is_file():
        return []
    heads = ("network", "probability", "share", "by chance", "lowest at [arcsec]")
    rows = []
    for name, card in cards.items():
        row = stored("real", card, lambda card=card: real_lens(card))
        shares = (f"{row[key]:.2f}" for key in ("share_on_arcs", "share_of_area"))
        rows.append([name, f"{row['probability']:.3f}", *shares, f"{row['radius_of_lowest']:.1f}"])
    return [
        "## A real lens",
        "",
        "Euclid Q1 102018665. Its arcs are 0.8 to 1.0 arcsec from the middle. `Share` is that of",
        f"what occlusion (squares of {WINDOW:g} arcsec, log-odds) says speaks for a lens that lies",
        f"{ARCS[0]:g} to {ARCS[1]:g} arcsec from the middle; `by chance`, of an even map.",
        "",
        *table(heads, rows),
    ]


def _sanity_lines(cards: dict[str, Card]) -> list[str]:
    rows, figures = [], []
    for name, card in cards.items():
        found = stored("sanity", card, lambda card=card: explained(card))
        cells = (
            words(found[method]) + ("" if found[method]["passed"] else ", fails")
            for method in METHODS
        )
        rows.append([name, str(found["occlusion"]["n"]), *cells])
        figures += [
            f"![{name}: correlation while layers become random](finding/sanity-{name}.png)",
            "",
            f"![{name}: occlusion of a simulated lens](finding/occlusion-{name}.png)",
            "",
        ]
    return [
        "## Do explanations depend on what was learned?",
        "",
        "Rank correlation of maps of the surest lenses, by the network and by the same network",
        "with all weights random; mean and two standard errors of N maps, each lens with 4 or 8",
        "draws of weights. Below 0.5 a map has lost its structure, as it must.",
        "",
        *table(["network", "N", *METHODS], rows),
        *figures,
    ]


def _moved_lines(cards: dict[str, Card]) -> list[str]:
    offsets = [f"{offset:g}" for offset in OFFSETS]
    rows = []
    for name, card in cards.items():
        found = stored("moved", card, lambda card=card: moved(card))
        shares = (found[offset] for offset in offsets)
        rows.append([name, *(f"{each['found']:.2f} / {each['mistaken']:.2f}" for each in shares)])
    return [
        "## Cut-outs that are not centred",
        "",
        f"Share of lenses found / of others called lenses, of {N_MOVED} systems moved by so many",
        "arcsec.",
        "",
        *table(["network", *offsets], rows),
    ]


def _speed_lines(cards: dict[str, Card]) -> list[str]:
    rows = []
    for name, card in cards.items():
        found = stored("speed", card, lambda card=card: speed(card))
        pixels = f"{len(card.bands)} x {card.inputs['shape'][0]}^2"
        rates = (f"{found[key]:,.0f}" for key in ("alone", "from_files"))
        rows.append([name, pixels, *rates, f"{found['load']:.1f}"])
    return [
        "## Speed",
        "",
        "Stamps per second, on as many cores as there are: the network alone on 256 stamps, and",
        f"`autolens-ml find` on {N_FILES:,} FITS files. Load is of the machine, over a minute.",
        "",
        *table(("network", "pixels", "alone", "from files", "load"), rows),
    ]


def main() -> Path:
    """Measure what is missing and write the page."""
    cards = known(NETWORKS)
    lines = ["# Networks that find lenses", "", "`python -m benchmarks.finding`.", ""]
    for part in (_merit_lines, _real_lines, _moved_lines, _speed_lines, _sanity_lines):
        lines += part(cards)
    machine_words = ", ".join(f"{key} {value}" for key, value in machine().items())
    lines.append(f"Machine of the last measurement: {machine_words}.")
    return write(RESULTS / "finding.md", lines)


if __name__ == "__main__":
    argparse.ArgumentParser(prog="benchmarks.finding", description=__doc__).parse_args()
    print(main())
