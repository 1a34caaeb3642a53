"""Cards for people: nothing of a card is lost, and nothing in it is taken for markup."""

import io

import autofit as af
import autolens as al
import pytest
from rich.console import Console

from autolens_ml.networks.checkpoint import Card
from autolens_ml.training.cards import card_text, cards_table, prior_words

EVALUATE = "autolens-ml evaluate euclid-sie --samples 2000 --seed 7 --json"
TIMING = "autolens-ml benchmark search --lens arc"


def metric(value: float, command: str = EVALUATE) -> dict:
    return {"value": value, "low": 0.9 * value, "high": 1.1 * value, "n": 2000, "command": command}


def made_card(folder, **changes) -> Card:
    values = {
        "name": "euclid-sie",
        "task": "lens-parameters",
        "description": "Posterior of the mass of a lens.",
        "instrument": {"name": "Euclid VIS", "psf_fwhm": [0.16, 0.2]},
        "bands": ["VIS", "Y"],
        "n_parameters": 973_402,
        "sha256": "ab" * 32,
        "architecture": {
            "class": "PosteriorNetwork",
            "config": {"head": "mixture", "orientations": [{"flip": False}, {"flip": True}]},
        },
        "inputs": {"shape": [64, 64], "pixel_scale": 0.1, "noise": True, "sky": None},
        "outputs": {
            "parameters": ["galaxies.lens.mass.einstein_radius"],
            "prior": made_model().dict(),
        },
        "training": {"preset": "euclid", "samples": 550_000, "hours": 0.2512, "seed": 3},
        "metrics": {
            "einstein_radius_rmse": metric(0.02831),
            "coverage_68": metric(0.687),
            "seconds": metric(0.5, TIMING),
        },
        "format": 1,
    }
    return Card.from_dict({**values, **changes}, folder)


def made_model() -> af.Collection:
    bulge = af.Model(al.lp_linear.SersicSph)
    mass = af.Model(al.mp.Isothermal, centre=bulge.centre)
    mass.einstein_radius = af.LogUniformPrior(0.4, 2.0)
    mass.ell_comps.ell_comps_0 = af.TruncatedGaussianPrior(
        mean=0.0, sigma=0.2, lower_limit=-1.0, upper_limit=1.0
    )
    lens = af.Model(al.Galaxy, redshift=0.5, mass=mass, bulge=bulge)
    return af.Collection(galaxies=af.Collection(lens=lens))


def printed(value, width: int = 80) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width).print(value, crop=False)
    return stream.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_table_fits_and_names_stay_whole(width, tmp_path):
    card = made_card(tmp_path, name="euclid-vis-sie-shear-mge")
    card.weights.write_bytes(bytes(1_900_000))
    text = printed(cards_table([card, made_card(tmp_path, n_parameters=42_310)]), width)
    for whole in (card.name, "lens-parameters", "VIS, Y", "0.97 M", "1.9 MB", "42,310"):
        assert whole in text
    assert "no weights" in text
    assert max(len(line) for line in text.splitlines()) <= width
    words = " ".join(printed(cards_table([card]), 120).split())
    assert "550,000 images einstein radius rmse 0.02831" in words
    assert "0.251 hours coverage 68 0.687" in words
    assert "seconds" not in words  # the third metric is no headline


@pytest.mark.parametrize("width", [80, 120])
def test_all_of_a_card_is_there(width, tmp_path):
    card = made_card(tmp_path)
    lines = printed(card_text(card), width).splitlines()
    text = " ".join(" ".join(lines).split())
    for words in (
        "Posterior of the mass of a lens.",
        "config.head mixture",
        "config.orientations 2 ",  # not all that they do
        "instrument.psf_fwhm 0.16, 0.2",
        "bands VIS, Y",
        "noise yes sky none",
        "parameters galaxies.lens.mass.einstein_radius",
        "lens.mass.einstein_radius log uniform from 0.4 to 2",
        "coverage 68 0.687 0.6183 0.7557 2,000 [1]",
        "seconds 0.5 0.45 0.55 2,000 [2]",
        "seed 3",
    ):
        assert words in text
    # What is copied from here stays on one line.
    assert f"[1] {EVALUATE}" in lines
    assert f"[2] {TIMING}" in lines
    assert f"weights  {card.weights}  (no weights)" in lines
    assert f"sha256   {card.sha256}" in lines


def test_what_is_not_stated_is_said(tmp_path):
    card = made_card(tmp_path, metrics={}, training={}, outputs={}, instrument={}, bands=[])
    text = printed(card_text(card))
    assert "not measured" in text
    assert text.count("not stated") == 3
    assert "euclid-sie" in printed(cards_table([card]))


def test_text_of_a_card_is_no_markup(tmp_path):
    markup = "[/red] [bold]x[/bold] :smile:"
    card = made_card(
        tmp_path,
        description=markup,
        bands=[markup],
        instrument={"name": markup},
        metrics={markup: metric(1.0, markup)},
        training={markup: markup, "samples": markup, "hours": [markup]},
        outputs={"prior": {"type": markup, "mean": {markup: 1}}},
    )
    assert printed(card_text(card), 200).count(markup) >= 8
    assert printed(cards_table([card]), 200).count(markup) == 3


def test_prior_words_use_the_paths_of_autofit():
    model = made_model()
    words = dict(prior_words(model.dict()))
    free = {path for path, prior in words.items() if not prior.startswith(("fixed", "as "))}
    # autofit counts a shared prior once, under the last of its paths.
    shared = {"lens.mass.centre_0", "lens.mass.centre_1"}
    paths = {
        name.removeprefix("galaxies.").replace("bulge.centre", "mass.centre")
        for name in model.model_component_and_parameter_names
    }
    assert free == paths
    assert shared <= free
    assert words["lens.bulge.centre_0"] == "as lens.mass.centre_0"
    assert words["lens.redshift"] == "fixed at 0.5"
    assert words["lens.mass.ell_comps_0"] == "truncated gaussian mean 0 sigma 0.2 from -1 to 1"


@pytest.mark.parametrize("model", [None, 3, "model", [], {}, {"arguments": 1}, {"arguments": {}}])
def test_what_is_no_model_has_no_priors(model):
    assert list(prior_words(model)) == []
