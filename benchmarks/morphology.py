"""Substructure found in simulated lenses: ``python -m benchmarks.morphology``.

It writes ``results/morphology.md`` and figures beside it:

- the table of AUCs beside the published ones, on noisy lenses held out of every training;
- the detection limit: the mass of a vortex at which the classifier, each anomaly score and the
  Bayes factor of `aml.CNN` detect nine of ten at 1 % false positives;
- with ``--posteriors``, how often the truth of detected vortices is where posteriors say.

Scores, fits and Bayes factors are kept in a folder, and an interrupted call goes on.
"""

import argparse
import hashlib
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from autofit.tools.util import open_atomic
from scipy.optimize import minimize

from autolens_ml.applications.fit.report import Parameter
from autolens_ml.applications.morphology.baselines import PrincipalComponents
from autolens_ml.applications.morphology.evidence import (
    DECISIVE,
    SUB_PIXELS,
    compare_vortex,
    setting_model,
    vortex_parameters,
)
from autolens_ml.applications.morphology.observed import ObservedLens
from autolens_ml.inference.importance import Status
from autolens_ml.networks.architectures import stored_network
from autolens_ml.networks.checkpoint import find_card
from autolens_ml.plot.morphology_plots import (
    class_roc_plot,
    detection_limit_plot,
    example_plot,
    vortex_plot,
)
from autolens_ml.simulate.forward import CHUNK
from autolens_ml.simulate.morphology.comparison import vortex_constructions
from autolens_ml.simulate.morphology.lensing import STRING
from autolens_ml.simulate.morphology.settings import SETTINGS
from autolens_ml.simulate.morphology.smooth_fit import SmoothFits
from autolens_ml.simulate.morphology.systems import CLASSES, KINDS, MorphologyPopulation
from autolens_ml.training.anomaly_accuracy import (
    ScoreTable,
    conditions_of,
    figures_of,
    network_scores,
)
from autolens_ml.training.detection import share_from
from autolens_ml.training.morphology_accuracy import (
    FALSE_POSITIVES,
    ClassScores,
    Curve,
    observed_batches,
    scored,
    smooth_fits,
)
from autolens_ml.training.morphology_vortex import latents_from
from autolens_ml.training.morphology_vortex_accuracy import setting_of, vortex_draws
from benchmarks.page import known, table, words, write
from benchmarks.search import fit_without_figures

RESULTS = Path(__file__).parent / "results"
CLASSIFIERS = ("morphology-i", "morphology-resnet")
AUTOENCODERS = ("anomaly-dcae", "anomaly-vae", "anomaly-cvae", "anomaly-aae")
# AUCs of publications, on sets that are not these; see simulate/morphology/settings.py.
PUBLISHED = {
    "supervised, ENN (2112.12121)": "0.996 (Model A)",
    "supervised, ResNet-18 (2112.12121)": "0.996 (Model A)",
    "supervised, CoAtNet (Model I)": "0.9955",
    "AAE (2008.12731)": "0.932 / 0.769 (Model A / B)",
    "VAE (2008.12731)": "0.899 / 0.735",
    "DCAE (2008.12731)": "0.730 / 0.670",
}
# The classifier of lenses whose sources are real galaxies, and the published macro AUC of one.
REAL_SOURCES, PUBLISHED_REAL = "morphology-real", ("Lensiformer", 0.865)
# Of `autolens_ml.simulate.morphology.settings`, which has the whole list.
DIFFERENCES = (
    "What differs in our set: Einstein radii are of angular-diameter distances (theirs are 1.3",
    "times too small); subhaloes are a Poisson number with the mass function m^-1.9 that they",
    "state; the halo loses the mass that is in substructure, where theirs gains it, which its ring",
    "gives away; noise is that of one observation; masses, ellipticities and shears differ from",
    "lens to lens; and vortices lie anywhere. So equal numbers do not mean equal difficulty.",
)
# What fits are told of the lenses: what `lens_model` says of any, or all there is to know.
WIDE, OF_THE_SET = "wide priors", "priors of the set"
DETECTION = (
    "",
    "A Bayes factor of `aml.CNN` above 100 is a detection: without a vortex that is at most one",
    "lens in a hundred (Markov's inequality).",
)
BAYES_FACTORS = {
    WIDE: ("", f"`{WIDE}` are a modeller's, of any lens."),
    OF_THE_SET: (
        "",
        f"`{OF_THE_SET}` are those that the lenses of model-i were drawn from, which classifiers",
        "have learned: lenses lie in the middle, their total mass is known to 2 %, their shape and",
        "shear to 0.02 and 0.01, the size of their sources to 4 %.",
    ),
}
# Shares of the halo's mass that vortices of the detection limit have.
SHARES = (0.002, 0.08)
DETECTED = 0.9
# Parameters of vortices of `lens_model`, in words.
SHOWN = {
    "centre_0": "y",
    "centre_1": "x",
    "length_comps_0": "first component of the length",
    "length_comps_1": "second",
    "mass_angular": "mass",
}
_N_COMPONENTS, _N_PCA = 100, 3000
# Of the lenses that are fitted.
_SEEDS_OF_FITS = {"vortex": 73, "no_sub": 75}


def digest_of(*cards):
    """What tells scores of these networks from those of others."""
    shas = "".join(card.sha256 for group in cards for card in group.values())
    return hashlib.sha256(shas.encode()).hexdigest()[:8]


def cached(path, make):
    """Arrays of a file, made once."""
    if not path.is_file():
        values = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial.npz")
        np.savez(partial, **values)
        partial.replace(path)
    with np.load(path) as stored:
        return dict(stored)


def principal_components(setting):
    """The linear autoencoder, of lenses without substructure."""
    population = MorphologyPopulation(setting, {"no_sub": 1.0})
    made = observed_batches(population, _N_PCA, 991)
    images = np.concatenate([batch.images.numpy() for _, batch in made])
    return PrincipalComponents.of(images, _N_COMPONENTS)


def all_scores(population, n, seed, classifiers, autoencoders, folder):
    """Every score of every method of n lenses, and what they truly are; smooth fits are kept."""
    made = observed_batches(population, n, seed)
    instrument = population.setting.instrument
    components = principal_components(population.setting)
    networks = {name: stored_network(card) for name, card in (classifiers | autoencoders).items()}
    parts = []
    for number, (systems, batch) in enumerate(made):
        fits = SmoothFits(
            **cached(
                folder / f"smooth-{seed}-{n}" / f"{number}.npz",
                lambda batch=batch: vars(smooth_fits(batch, instrument)),
            )
        )
        seen = replace(batch, residuals=torch.from_numpy(fits.residuals).float())
        row = {
            "classes": systems.classes,
            "mass": systems.substructure_mass,
            "smooth fit": fits.arc_chi_squared(batch.noise.numpy()),
            "PCA": components.scores(batch.images.numpy(), batch.noise.numpy()),
        }
        for name in classifiers:
            found = scored(networks[name], [(systems, seen)])
            row[f"{name} probabilities"] = found.probabilities
            row[f"{name} signal_to_noise"] = found.signal_to_noise
        for name in autoencoders:
            told = conditions_of(fits) if networks[name].kind == "conditional" else None
            for score, values in network_scores(networks[name], batch, told).items():
                row[f"{name} {score}"] = values
        parts.append(row)
        print(f"{sum(len(p['classes']) for p in parts):,} of {n:,} lenses", flush=True)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def class_scores(values, name):
    """What a classifier said."""
    return ClassScores(
        values[f"{name} probabilities"],
        values["classes"],
        values["mass"],
        values[f"{name} signal_to_noise"],
    )


def anomaly_scores(values, classifiers):
    """Scores by method, larger is stranger; those of classifiers are log odds of substructure."""
    scores = {
        name: column
        for name, column in values.items()
        if column.ndim == 1 and name not in ("classes", "mass") and "signal" not in name
    }
    return {f"{name} (labels)": class_scores(values, name).suspicion for name in classifiers} | (
        scores
    )


def sigmoid_limit(mass, found, share=DETECTED):
    """Log10 mass at which a share is detected: a logistic curve from 1 % to 1, most probable."""
    x = np.log10(mass)

    def loss(p):
        rate = FALSE_POSITIVES + (1.0 - FALSE_POSITIVES) / (1.0 + np.exp(-p[1] * (x - p[0])))
        rate = np.clip(rate, 1e-9, 1.0 - 1e-9)
        return -np.sum(np.where(found, np.log(rate), np.log(1.0 - rate)))

    best = minimize(loss, [np.median(x), 6.0], method="Nelder-Mead").x
    odds = (share - FALSE_POSITIVES) / (1.0 - share)
    limit = best[0] + np.log(odds) / best[1]
    # Beyond the masses that were tried nothing is known.
    return float(limit) if best[1] > 0.0 and x.min() <= limit <= x.max() else float("nan")


def limit_interval(mass, found, n=200, seed=0):
    """95 per cent interval of the limit, by the bootstrap; infinite beyond what was tried."""
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(n):
        rows = rng.integers(len(mass), size=len(mass))
        drawn.append(sigmoid_limit(mass[rows], found[rows]))
    # Limits beyond the heaviest vortices are above all others.
    drawn = np.where(np.isfinite(drawn), drawn, np.inf)
    return np.quantile(drawn, (0.025, 0.975), method="nearest")


def binned(mass, found, n_bins=8):
    """Shares found in bins of log mass, with binomial intervals."""
    x, order = np.log10(mass), np.argsort(mass)
    rows = np.array_split(order, n_bins)
    shares = [share_from(found[part]) for part in rows]
    return Curve(
        np.array([x[part].mean() for part in rows]),
        *(np.array([share[key] for share in shares]) for key in ("value", "low", "high")),
        np.array([len(part) for part in rows]),
    )


def bayes_factors(n, max_likelihood_calls, priors=WIDE, kind="vortex"):
    """Ln Bayes factors for a vortex by `aml.CNN`, and what its fits say; measured ones are kept.

    The lenses have a vortex, or with kind ``no_sub`` nothing but a smooth halo.
    """
    # Sampled more finely than fits sample them: what is coarser is another image.
    finely = {"over_sample_size": 2 * SUB_PIXELS}
    setting = SETTINGS["model-i"].changed(vortex_share=SHARES, instrument=finely)
    seed = _SEEDS_OF_FITS[kind]
    # As many as are simulated at once, so the first are the same however many are fitted.
    ((systems, batch),) = observed_batches(MorphologyPopulation(setting, {kind: 1.0}), CHUNK, seed)
    models = None
    if priors == OF_THE_SET:
        models = tuple(setting_model(setting, with_vortex) for with_vortex in (False, True))
    fit_without_figures()
    file = RESULTS / "morphology" / f"bayes-factors-{kind}-{priors.replace(' ', '-')}.json"
    rows = json.loads(file.read_text()) if file.is_file() else []
    for i in range(len(rows), n):
        lens = ObservedLens(
            f"{kind}_{i}",
            batch.images[i].double().numpy(),
            batch.noise[i].double().numpy(),
            float(systems.psf_fwhm[i]),
        )
        truth = true_parameters(systems.strings[i, 0]) if kind == "vortex" else {}
        with tempfile.TemporaryDirectory() as output:
            evidence = compare_vortex(
                lens,
                setting.instrument,
                output=output,
                seed=seed,
                max_likelihood_calls=max_likelihood_calls,
                models=models,
                truth=truth,
            )
        rows.append(
            {
                "true_mass": float(systems.substructure_mass[i]),
                "log_bayes_factor": evidence.log_bayes_factor,
                "log_bayes_factor_error": evidence.log_bayes_factor_error,
                "smooth": fit_in_short(evidence.smooth),
                "vortex": fit_in_short(evidence.vortex),
            }
        )
        with open_atomic(file) as stream:
            stream.write(json.dumps(rows, indent=1))
        print(f"{i + 1} of {n}: {evidence.verdict}", flush=True)
    return rows[:n]


def fit_in_short(report):
    """What is kept of a fit."""
    values = report.as_dict()
    kept = {name: values[name] for name in ("status", "seconds", "log_evidence")}
    vortex = {path: p for path, p in values["parameters"].items() if ".vortex." in path}
    return {**kept, "parameters": vortex}


def true_parameters(string):
    """A simulated vortex by the paths of `lens_model`."""
    true = dict(zip(STRING, string, strict=True))
    del true["core_radius"]  # that of the model
    return {path: float(value) for path, value in vortex_parameters(**true).items()}


def detection_limit(folder, n, n_fits, classifiers, autoencoders, max_likelihood_calls):
    """Curves and limits of every method, and fits by what they are told of the lenses."""
    key = digest_of(classifiers, autoencoders)
    heavy = SETTINGS["model-i"].changed(vortex_share=SHARES)
    vortices = MorphologyPopulation(heavy, {"vortex": 1.0})
    ordinary = MorphologyPopulation("model-i", {"no_sub": 1.0})
    vortex_values, ordinary_values = (
        cached(
            folder / f"{name}-{n}-{key}.npz",
            lambda population=population, seed=seed: all_scores(
                population, n, seed, classifiers, autoencoders, folder
            ),
        )
        for name, population, seed in (("vortices", vortices, 71), ("ordinary", ordinary, 72))
    )
    with_vortex = anomaly_scores(vortex_values, classifiers)
    without = anomaly_scores(ordinary_values, classifiers)
    # The classifier that is asked for a vortex, and not for any substructure.
    for name in classifiers:
        for scores, values in ((with_vortex, vortex_values), (without, ordinary_values)):
            p = np.clip(values[f"{name} probabilities"], 1e-12, 1.0)
            scores[f"{name} (labels)"] = np.log(p[:, 2] / p[:, 0])
    curves, limits, intervals = {}, {}, {}
    for name, score in with_vortex.items():
        found = score > np.quantile(without[name], 1.0 - FALSE_POSITIVES)
        curves[name] = binned(vortex_values["mass"], found)
        limits[name] = sigmoid_limit(vortex_values["mass"], found)
        intervals[name] = limit_interval(vortex_values["mass"], found)
    fits = {}
    for priors, number in n_fits.items():
        fits[priors] = rows = bayes_factors(number, max_likelihood_calls, priors)
        mass = np.array([row["true_mass"] for row in rows])
        found = np.array([row["log_bayes_factor"] > DECISIVE for row in rows])
        name = f"Bayes factor, {priors}"
        curves[name] = binned(mass, found, n_bins=min(6, max(number // 8, 2)))
        limits[name] = sigmoid_limit(mass, found)
        intervals[name] = limit_interval(mass, found)
    return curves, limits, intervals, fits


def posterior_rates(name, n, seed):
    """How often the truth of vortices is within credible intervals of the posterior network."""
    card = find_card(name)
    network, setting = stored_network(card), setting_of(card)
    population = MorphologyPopulation(SETTINGS["model-i"], {"vortex": 1.0})
    made = observed_batches(population, n, seed)
    inside = []
    for _, batch in made:
        draws = vortex_draws(network, batch, 2000, seed)
        truth = latents_from(batch.vortex, setting).double().numpy()
        ranks = (draws < truth[:, None]).mean(axis=1)
        inside.append(np.abs(ranks - 0.5))
    ranks = np.concatenate(inside)
    return {level: float((ranks <= 0.5 * level).mean()) for level in (0.683, 0.955)}


def lines_of_fits(priors, fits):
    """What fits with and without a vortex came to, as lines of Markdown."""
    status = [row["vortex"]["status"] for row in fits]
    counted = ", ".join(f"{status.count(s)} {s}" for s in Status if s in status)
    seconds = np.median([row[k]["seconds"] for row in fits for k in ("smooth", "vortex")])
    lines = [
        "",
        f"With {priors}, fits of {len(fits)} lenses with a vortex ended {counted};",
        f"a fit took {seconds:.0f} s (median).",
    ]
    failed = [row["log_bayes_factor"] for row in fits if row["vortex"]["status"] == Status.FAILED]
    if failed:
        lines.append(
            f"Ln Bayes factors by fits that FAILED are {min(failed):+.1f} to {max(failed):+.1f}; "
            f"{sum(value > DECISIVE for value in failed)} of them are above {DECISIVE:.1f} and "
            "count as detections."
        )
    usable = [row for row, s in zip(fits, status, strict=True) if s != Status.FAILED]
    found = [row for row in usable if row["log_bayes_factor"] > DECISIVE]
    off = np.array([sigmas_of(row) for row in found])
    if len(off):
        lines += [
            f"Truths of {len(found)} vortices that other fits detect, within one and two errors of",
            "the posterior (68.3 and 95.4 % are due):",
            "",
        ]
        columns = {**dict(zip(SHOWN.values(), off.T, strict=True)), "all": off.ravel()}
        for name, column in columns.items():
            shares = [100.0 * (np.abs(column) < n).mean() for n in (1.0, 2.0)]
            lines.append(f"- {name}: {shares[0]:.1f} and {shares[1]:.1f} %")
    return lines


def lines_of_false_alarms(fits):
    """What Bayes factors say of lenses without a vortex, as lines of Markdown."""
    lines = ["", f"Lenses without a vortex ({len(next(iter(fits.values())))} of them):", ""]
    for priors, rows in fits.items():
        factors = np.array([row["log_bayes_factor"] for row in rows])
        status = [row["vortex"]["status"] for row in rows]
        counted = ", ".join(f"{status.count(s)} {s}" for s in Status if s in status)
        lines.append(
            f"- {priors}: ln Bayes factors of {factors.min():+.1f} to {factors.max():+.1f}, median "
            f"{np.median(factors):+.1f}; {np.sum(factors > DECISIVE)} above {DECISIVE:.1f} "
            f"({counted})"
        )
    return lines


def sigmas_of(row):
    """How far truths are from medians of a fit, in the errors on their side."""
    parameters = row["vortex"]["parameters"]
    paths = [f"galaxies.lens.vortex.{name}" for name in SHOWN]
    return [Parameter(path, **parameters[path]).sigmas_from_truth for path in paths]


def real_sources(cards):
    """What cards of classifiers of real sources say they measured, as lines of Markdown."""
    lines = []
    for name, card in cards.items():
        figures = card.metrics
        lines += [
            "",
            f"Sources that are real galaxies (`{figures['auc_macro']['command']}`):",
            "",
            *table(
                ("method", "AUC macro", "no substructure", "subhaloes", "vortex"),
                [
                    [name, *(words(figures[f"auc_{key}"]) for key in ("macro", *CLASSES))],
                    ["{}, published, on another set".format(*PUBLISHED_REAL), PUBLISHED_REAL[1]]
                    + [""] * len(CLASSES),
                ],
            )[:-1],
        ]
    return lines


def table_of(values, classifiers):
    """The table of AUCs as lines of Markdown."""
    lines = [
        "| method | AUC all | subhaloes | vortex | found at 1 % FPR |",
        "|---|---|---|---|---|",
    ]
    for name in classifiers:
        scores = class_scores(values, name)
        lines.append(
            f"| {name}, three classes: macro | {words(scores.macro_area())} | "
            f"{words(scores.area('cdm'))} | {words(scores.area('vortex'))} | |"
        )
    for name, score in anomaly_scores(values, classifiers).items():
        figures = figures_of(ScoreTable({"score": score}, values["classes"]))
        lines.append(
            f"| {name} | {words(figures['auc_score_all'])} | {words(figures['auc_score_cdm'])} | "
            f"{words(figures['auc_score_vortex'])} | {words(figures['tpr_1_percent_score_all'])} |"
        )
    lines += ["", "Published, on other sets:", "", "| method | AUC |", "|---|---|"]
    lines += [f"| {name} | {area} |" for name, area in PUBLISHED.items()]
    return [*lines, "", *DIFFERENCES]


def main(
    n=2500,
    n_limit=1000,
    n_fits=0,
    n_wide=0,
    n_without=0,
    posteriors=False,
    folder=None,
    max_likelihood_calls=20_000,
):
    """Run all; returns the page."""
    folder = Path(folder or "output/morphology")
    classifiers, autoencoders = known(CLASSIFIERS), known(AUTOENCODERS)
    figures = RESULTS / "morphology"
    examples = MorphologyPopulation("model-i", dict.fromkeys(KINDS, 1.0))
    (systems,) = examples.batches(64, 5)
    example_plot(systems, examples.setting.instrument.pixel_scale, figures / "examples.png")
    vortex_plot(vortex_constructions(), figures / "vortex.png")
    key = digest_of(classifiers, autoencoders)
    values = cached(
        folder / f"test-{n}-{key}.npz",
        lambda: all_scores(
            MorphologyPopulation("model-i", held_out=True),
            len(CLASSES) * n,
            70,
            classifiers,
            autoencoders,
            folder,
        ),
    )
    command = f"python -m benchmarks.morphology -n {n} --n-limit {n_limit}"
    for name, number in (("fits", n_fits), ("wide", n_wide), ("without", n_without)):
        command += f" --n-{name} {number}" * bool(number)
    command += " --posteriors" * posteriors
    lines = [
        "# Substructure in simulated lenses",
        "",
        f"`{command}`: {len(CLASSES)} x {n} noisy",
        "lenses of the setting `model-i` that no network has seen (seed 70), with 95 % intervals",
        "by the bootstrap. `labels` are classifiers, which learned from examples of all classes;",
        "all others know lenses without substructure only. `smooth fit` is the chi squared of the",
        "best lens without substructure, of PyAutoLens's own profiles.",
        "",
    ]
    lines += table_of(values, classifiers)
    lines += real_sources(known((REAL_SOURCES,)))
    if classifiers:
        class_roc_plot(
            {name: class_scores(values, name) for name in classifiers}, figures / "roc.png"
        )
    curves, limits, intervals, fits = detection_limit(
        folder,
        n_limit,
        {name: k for name, k in ((WIDE, n_wide), (OF_THE_SET, n_fits)) if k},
        classifiers,
        autoencoders,
        max_likelihood_calls,
    )
    # Of every autoencoder its best score.
    shown = [name for name in curves if not name.endswith(("mahalanobis", "elbo"))]
    halo = SETTINGS["model-i"].halo_mass
    detection_limit_plot({k: curves[k] for k in shown}, limits, halo, figures / "limit.png")
    lines += ["", "![Vortices that are detected, by mass](morphology/limit.png)"]
    lines += ["", "Mass of a vortex that nine of ten times is detected at 1 % false positives:", ""]
    for name, limit in limits.items():
        if not np.isfinite(limit):
            lines.append(f"- {name}: not reached up to {SHARES[1]:.0%} of the halo")
            continue
        ends = (f"{10.0**end:.2e}" if np.isfinite(end) else "beyond" for end in intervals[name])
        lines.append(f"- {name}: {10.0**limit:.2e} ({' to '.join(ends)}) solar masses")
    if fits:
        lines += DETECTION
    if fits and n_without:
        lines += lines_of_false_alarms(
            {
                priors: bayes_factors(n_without, max_likelihood_calls, priors, "no_sub")
                for priors in fits
            }
        )
    for priors, rows in fits.items():
        lines += [*BAYES_FACTORS[priors], *lines_of_fits(priors, rows)]
    if posteriors:
        rates = posterior_rates("vortex-i", 50, 74)
        lines += ["", "Truth within credible intervals of vortex-i, 50 vortices of model-i:", ""]
        lines += [f"- {100 * level:g} %: {100 * rate:.1f} %" for level, rate in rates.items()]
    lines += ["", "Lenses with and without what is looked for (images without noise):", ""]
    lines += ["![Examples](morphology/examples.png)", ""]
    lines += ["Ways to make a vortex, against the exact profile:", ""]
    lines += ["![Vortices](morphology/vortex.png)"]
    return write(RESULTS / "morphology.md", lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=2500, help="lenses of each class")
    parser.add_argument("--n-limit", type=int, default=1000, help="of the detection limit")
    parser.add_argument("--n-fits", type=int, default=0, help="fitted twice by aml.CNN")
    parser.add_argument("--n-wide", type=int, default=0, help="of these with wide priors too")
    parser.add_argument("--n-without", type=int, default=0, help="without a vortex, likewise")
    parser.add_argument("--posteriors", action="store_true", help="coverage of vortex-i")
    parser.add_argument("--folder", help="where scores and fits are kept")
    parser.add_argument("--max-likelihood-calls", type=int, default=20_000)
    print(main(**vars(parser.parse_args())))
