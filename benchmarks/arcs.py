"""Networks for arcs, side by side: ``python -m benchmarks.arcs``.

It writes ``results/arcs.md``: what ``autolens-ml evaluate`` has measured of each network, coverage
beside sharpness, with and without the draws of the dropout; and a test of transfer. The networks
have seen Ensai's images alone (0.04 arcsec, isothermal ellipsoids without shear, no lens light but
its residuals and, of ``ensai-resnet``, its noise). Here they are given lenses of the presets
``euclid-sie`` and ``hst-sie``, with shear, resampled, the light of the lens taken away perfectly
but for its noise.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

from autolens_ml.inference.amortised import load_network
from autolens_ml.latent import indexed_paths
from autolens_ml.networks.architectures import stored_network
from autolens_ml.networks.checkpoint import Card, cards, save_network
from autolens_ml.simulate.description import population_from
from autolens_ml.simulate.ensai_conventions import ENSAI_PARAMETERS
from autolens_ml.simulate.population import simulate
from autolens_ml.training.arc_accuracy import measured
from autolens_ml.training.calibration import LEVELS, calibration_from
from autolens_ml.training.merit import pooled_coverage
from autolens_ml.training.preset import preset_from
from benchmarks.page import table, write
from benchmarks.search import machine

RESULTS = Path(__file__).parent / "results"
SETS = ("euclid-sie", "hst-sie")
GROUPS = {"Einstein radius": "einstein_radius", "centre": "centre_", "ell_comps": "ell_comps_"}
N_DRAWS = 400
# About the median of Ensai's images.
BRIGHT = 20.0
BATCH = 64
# Of AlexNet, as the code of Hezaveh et al. 2017 prints them for 1,000 test images.
PRINTED = (0.04, 0.07, 0.08, 0.09, 0.08)
WIDTH = "width_68 galaxies.lens.mass.einstein_radius"


def without_dropout(card: Card, n: int, seed: int) -> Card:
    """The card of a network whose dropout is not drawn, measured as ``evaluate`` does."""
    state = dict(stored_network(card).state_dict(), dropout_rate=torch.tensor(0.0))
    with tempfile.TemporaryDirectory() as folder:
        fields = {**card.as_dict(), "name": f"{card.name}-undropped", "metrics": {}}
        return measured(save_network(Path(folder), fields, state), n, seed, print).card


def row_of(card: Card) -> list[str]:
    """Errors, coverage, sharpness and speed of a network."""

    def number(name: str, form: str = ".3f") -> str:
        return format(card.metrics[name]["value"], form)

    return [
        card.name,
        *(number(f"rms_{name}") for name in ENSAI_PARAMETERS),
        *(f"{100 * card.metrics[f'coverage_{100 * level:g}']['value']:.1f}" for level in LEVELS),
        number(WIDTH),
        number("images_per_second", ",.0f"),
    ]


def errors_on(name: str, networks: list[str], n: int, seed: int) -> list[list[str]]:
    """Rows of each network on one set: errors that 68.3 per cent stay below, and coverage."""
    population = population_from(preset_from(name).data["population"])
    lenses = simulate(population, n, seed)
    # The lens light is known exactly here; its photon noise stays.
    data = lenses.data - lenses.planes[:, 0]
    datasets = [
        population.instrument.imaging_from(image, noise, fwhm)
        for image, noise, fwhm in zip(data, lenses.noise_maps, lenses.psf_fwhm, strict=True)
    ]
    peaks = (lenses.planes[:, -1] / lenses.noise_maps).max(axis=(1, 2))
    # A parameter of several components has a path in each.
    column_of = {".".join(path): column for path, column in indexed_paths(population.model)}
    rows = []
    for network in map(load_network, networks):
        truths = lenses.parameters[:, [column_of[path] for path in network.names]]
        samples = np.array(
            [
                posterior.sample(N_DRAWS, seed)
                for first in range(0, n, BATCH)
                for posterior in network.posteriors_from(datasets[first : first + BATCH])
            ]
        )
        for which, used in {"all": peaks > 0.0, f"above {BRIGHT:g}": peaks > BRIGHT}.items():
            calibration = calibration_from(samples[used], truths[used], network.names, seed)
            errors = np.abs(calibration.medians - calibration.truths)
            groups = [
                np.quantile(errors[:, [group in path for path in network.names]], LEVELS[0])
                for group in GROUPS.values()
            ]
            coverage = pooled_coverage(calibration, 0)["value"]
            rows.append(
                [
                    *(name, which, network.card.name, f"{used.sum():,}"),
                    *(f"{error:.3f}" for error in groups),
                    f"{100 * coverage:.0f}",
                ]
            )
    return rows


def main(n: int = 1000, seed: int = 0) -> Path:
    """Measure all networks for arcs on all sets, and write the page.

    Parameters
    ----------
    n
        Lenses of each set.
    seed
        Of the lenses.
    """
    known = cards("arc-parameters")
    rows = [["AlexNet, printed by Ensai", *map(str, PRINTED), "–", "–", "–", "–", "–"]]
    for card in known:
        rows.append(row_of(card))
        if stored_network(card).state_dict().get("dropout_rate", 0.0) > 0.0:
            rows.append(row_of(without_dropout(card, n, seed)))
    names = [card.name for card in known]
    transfer = [row for name in SETS for row in errors_on(name, names, n, seed)]
    levels = (f"within {100 * level:g} % [%]" for level in LEVELS)
    lines = [
        "# Networks for arcs",
        "",
        f"`python -m benchmarks.arcs --lenses {n} --seed {seed}`",
        "",
        "## On images like those they learned from",
        "",
        "Rms errors of posterior medians in the parameters of Hezaveh et al. 2017 [arcsec; none],",
        "the share of truths within central intervals, all parameters together, and half the",
        "median width of the central 68.3 per cent of the Einstein radius [arcsec]. As the cards",
        f"say, by `autolens-ml evaluate`; `-undropped` draw no dropout, of {n} images, where the",
        "rate that was tuned for coverage is above zero.",
        "",
        *table(
            ("network", *ENSAI_PARAMETERS, *levels, "width of the radius", "images per second"),
            rows,
        ),
        "## On lenses of other telescopes",
        "",
        f"{n} lenses of each preset, with shear, lens light taken away but for its noise,",
        "resampled to 0.04 arcsec. Errors of medians that 68.3 per cent stay below [arcsec; none].",
        "Signal-to-noise is that of the brightest pixel of the source: the faintest have arcs that",
        "the eye does not see.",
        "",
        *table(
            ("set", "signal-to-noise", "network", "lenses", *GROUPS, "within 68.3 % [%]"), transfer
        ),
        f"Machine: {', '.join(f'{key} {value}' for key, value in machine().items())}.",
    ]
    return write(RESULTS / "arcs.md", lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="benchmarks.arcs", description=__doc__)
    parser.add_argument("--lenses", type=int, default=1000, dest="n")
    parser.add_argument("--seed", type=int, default=0)
    print(main(**vars(parser.parse_args())))
