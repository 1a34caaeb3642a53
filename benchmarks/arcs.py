"""Networks for arcs on lenses of other telescopes: ``python -m benchmarks.transfer``.

A test of transfer: the networks have seen Ensai's images alone (0.04 arcsec, isothermal ellipsoids
without shear, no lens light but its residuals). Here they are given lenses of the presets
``euclid-sie`` and ``hst-sie``, with shear, resampled, the light of the lens taken away perfectly
but for its noise. Errors are those of the posterior medians; coverage is that of the central
68.3 per cent. Writes results/transfer.md.
"""

import argparse
from pathlib import Path

import numpy as np

from autolens_ml.inference.amortised import load_network
from autolens_ml.networks.checkpoint import cards
from autolens_ml.simulate.description import population_from
from autolens_ml.simulate.population import simulate
from autolens_ml.training.calibration import calibration_from
from autolens_ml.training.merit import pooled_coverage
from autolens_ml.training.preset import preset_from

TABLE = Path(__file__).parent / "results" / "transfer.md"
SETS = ("euclid-sie", "hst-sie")
GROUPS = {"Einstein radius": "einstein_radius", "centre": "centre_", "ell_comps": "ell_comps_"}
N_DRAWS = 400
BATCH = 64


def errors_on(name: str, networks: list[str], n: int, seed: int) -> dict[str, list[float]]:
    """Errors that 68.3 per cent stay below, and coverage, of each network on one set."""
    population = population_from(preset_from(name).data["population"])
    lenses = simulate(population, n, seed)
    # The lens light is known exactly here; its photon noise stays.
    data = lenses.data - lenses.planes[:, 0]
    datasets = [
        population.instrument.imaging_from(image, noise, fwhm)
        for image, noise, fwhm in zip(data, lenses.noise_maps, lenses.psf_fwhm, strict=True)
    ]
    rows = {}
    for network in map(load_network, networks):
        columns = [population.names.index(path) for path in network.names]
        truths = lenses.parameters[:, columns]
        samples = [
            posterior.sample(N_DRAWS, seed)
            for first in range(0, n, BATCH)
            for posterior in network.posteriors_from(datasets[first : first + BATCH])
        ]
        calibration = calibration_from(np.array(samples), truths, network.names, seed)
        errors = np.abs(calibration.medians - truths)
        groups = [
            np.quantile(errors[:, [group in path for path in network.names]], 0.683)
            for group in GROUPS.values()
        ]
        rows[network.card.name] = [*groups, pooled_coverage(calibration, 0)["value"]]
    return rows


def main(n: int = 1000, seed: int = 0) -> str:
    """Measure all networks for arcs on all sets, and write the table.

    Parameters
    ----------
    n
        Lenses of each set.
    seed
        Of the lenses.
    """
    networks = [card.name for card in cards("arc-parameters")]
    lines = [
        f"68 % errors and coverage of networks for arcs on {n} lenses of other telescopes",
        "",
        f"| set | network | {' | '.join(GROUPS)} | coverage of 68.3 % |",
        f"| --- | --- | {'---: | ' * (len(GROUPS) + 1)}",
    ]
    for name in SETS:
        for network, values in errors_on(name, networks, n, seed).items():
            *errors, coverage = values
            numbers = [f"{error:.3f}" for error in errors] + [f"{100 * coverage:.0f} %"]
            lines.append(f"| {name} | {network} | {' | '.join(numbers)} |")
    lines += ["", f"Command: `python -m benchmarks.transfer --lenses {n} --seed {seed}`."]
    text = "\n".join(lines) + "\n"
    TABLE.write_text(text)
    return text


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lenses", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(main(options.lenses, options.seed))
