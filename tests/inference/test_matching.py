"""Which network a model and a dataset go to, and what that network knows of the model."""

import copy
import re

import autofit as af
import autolens as al
import numpy as np
import pytest

from autolens_ml.inference.matching import matched_columns, matching_network, ties_of
from autolens_ml.latent import indexed_paths
from autolens_ml.networks.checkpoint import Card
from tests.simulate.test_observation import gaussian_psf, imaging, interferometer, without_psf
from tests.stored_networks import card_fields, certain, unsure, untrained

LENS = "galaxies.lens"
NAMES = [
    f"{LENS}.mass.centre.centre_0",
    f"{LENS}.mass.centre.centre_1",
    f"{LENS}.mass.einstein_radius",
    f"{LENS}.bulge.ell_comps.ell_comps_0",
    f"{LENS}.bulge.ell_comps.ell_comps_1",
    "galaxies.source.bulge.centre.centre_0",
    "galaxies.source.bulge.centre.centre_1",
]


def galaxies(**profiles) -> af.Collection:
    """A lens and a source; ``lens_mass=...`` is the profile ``mass`` of the lens."""
    parts: dict[str, dict] = {"lens": {}, "source": {}}
    for name, profile in profiles.items():
        galaxy, component = name.split("_")
        parts[galaxy][component] = profile
    return af.Collection(
        galaxies=af.Collection(
            lens=af.Model(al.Galaxy, redshift=0.5, **parts["lens"]),
            source=af.Model(al.Galaxy, redshift=1.0, **parts["source"]),
        )
    )


def found(model, **options) -> dict[str, str]:
    """Path of a parameter of the model -> name of the network's, for the first path of each."""
    first: dict[int, str] = {}
    for path, i in indexed_paths(model):
        first.setdefault(i, ".".join(path))
    matched = matched_columns(NAMES, model, **options)
    return {first[i]: NAMES[j] for i, j in matched.items()}


# --- parameters ---------------------------------------------------------------------------------


def test_parameters_are_matched_by_path_in_any_order():
    """A prior that is replaced moves to the end of autofit's order."""
    mass = af.Model(al.mp.IsothermalSph)
    mass.centre.centre_0 = af.UniformPrior(-1.0, 1.0)
    model = galaxies(lens_mass=mass)
    assert model.priors_ordered_by_id[0] is not mass.centre.centre_0
    assert found(model) == {name: name for name in NAMES[:3]}
    indices = list(matched_columns(NAMES, model))
    assert indices == sorted(indices)


def test_other_names_are_not_matched():
    model = galaxies(lens_dark=al.mp.IsothermalSph, lens_bulge=af.Model(al.lp.SersicSph))
    model.galaxies.lens.bulge.centre = (0.0, 0.0)
    assert matched_columns(NAMES, model) == {}


def test_fixed_parameters_are_not_matched():
    mass = af.Model(al.mp.IsothermalSph, einstein_radius=1.0)
    assert found(galaxies(lens_mass=mass)) == {name: name for name in NAMES[:2]}


def test_shared_parameter_goes_to_the_first_of_its_names():
    """A centre that source and mass share is the centre of the mass, not of the source."""
    mass, bulge = af.Model(al.mp.IsothermalSph), af.Model(al.lp.SersicSph)
    mass.centre = bulge.centre
    model = galaxies(source_bulge=bulge, lens_mass=mass)
    matched = matched_columns(NAMES, model)
    assert sorted(matched.values()) == [0, 1, 2]


def test_components_of_a_basis_are_one_profile():
    basis = al.model_util.mge_model_from(
        mask_radius=3.0, total_gaussians=5, centre_prior_is_uniform=False
    )
    matched = found(galaxies(source_bulge=basis))
    assert {path.split(".")[-1]: name for path, name in matched.items()} == {
        "centre_0": NAMES[5],
        "centre_1": NAMES[6],
    }


def test_every_basis_of_a_profile_takes_its_shape():
    basis = al.model_util.mge_model_from(
        mask_radius=3.0, total_gaussians=4, gaussian_per_basis=2, centre_prior_is_uniform=False
    )
    matched = matched_columns(NAMES, galaxies(lens_bulge=basis))
    assert sorted(matched.values()) == [3, 3, 4, 4]


def test_models_of_several_datasets_share_paths():
    """A factor graph puts a number before the paths of each of its models."""
    model = galaxies(lens_mass=al.mp.IsothermalSph)
    assert sorted(matched_columns(NAMES, af.Collection(model, model)).values()) == [0, 1, 2]


# --- ties ---------------------------------------------------------------------------------------


@pytest.fixture
def tied(tmp_path):
    """A network trained on lenses whose light has the centre of the mass."""
    mass, bulge = af.Model(al.mp.IsothermalSph), af.Model(al.lp.SersicSph)
    bulge.centre = mass.centre
    model = galaxies(lens_mass=mass, lens_bulge=bulge)
    return certain(tmp_path, model, dict.fromkeys(NAMES[:2], 0.01) | {NAMES[2]: 1.0})


def test_ties_of_training(tied):
    assert ties_of(tied) == {
        f"{LENS}.bulge.centre.centre_0": NAMES[0],
        f"{LENS}.bulge.centre.centre_1": NAMES[1],
    }


def test_reading_a_card_leaves_it_as_it_was(tied):
    """autofit takes apart the dictionaries that it reads models from."""
    before = copy.deepcopy(tied.as_dict())
    first = ties_of(tied)
    assert tied.as_dict() == before
    assert ties_of(tied) == first


def test_what_was_tied_in_training_may_be_free_in_a_fit(tied):
    model = galaxies(lens_mass=al.mp.IsothermalSph, lens_bulge=al.lp.SersicSph)
    matched = found(model, ties=ties_of(tied))
    assert matched[f"{LENS}.bulge.centre.centre_0"] == NAMES[0]
    assert matched[f"{LENS}.bulge.centre.centre_1"] == NAMES[1]
    assert len(matched) == 5


# --- networks -----------------------------------------------------------------------------------

SPHERE = {"lens_mass": al.mp.IsothermalSph}
SHEARED = {**SPHERE, "lens_shear": al.mp.ExternalShear}


def dataset(scale: float = 0.1, psf_fwhm: float = 0.2) -> al.Imaging:
    return imaging(
        np.ones((20, 20)), scale=scale, psf=gaussian_psf(psf_fwhm / 2.355, side=31, scale=scale)
    )


@pytest.fixture
def make_card(tmp_path):
    def make(name: str, profiles=SPHERE, instrument="euclid-vis", **options):
        return unsure(
            tmp_path / name, galaxies(**profiles), name=name, instrument=instrument, **options
        )

    return make


def test_the_network_that_knows_most_is_chosen(make_card):
    cards = [make_card("less"), make_card("more", SHEARED)]
    card, reason = matching_network(galaxies(**SHEARED), dataset(), cards)
    assert card.name == "more"
    assert reason == 'more knows 5 of 5 parameters, at 0.1" for pixels of 0.1"'


OTHER = {
    "name": "other",
    "shape": [64, 64],
    "pixel_scale": 0.1,
    "psf_fwhm": [0.14, 0.26],
    "exposure_time": [100.0, 100.0],
    "background_sky_level": 1.0,
}


def test_of_equals_the_nearest_pixel_scale_is_chosen(make_card):
    cards = [make_card("coarse"), make_card("fine", instrument={**OTHER, "pixel_scale": 0.06})]
    for scale, expected in ((0.1, "coarse"), (0.08, "coarse"), (0.06, "fine"), (0.07, "fine")):
        card, reason = matching_network(galaxies(**SPHERE), dataset(scale), cards)
        assert card.name == expected
        assert f'for pixels of {scale:g}"' in reason


def test_of_equal_pixels_the_nearest_psf_is_chosen(make_card):
    blurred = {**OTHER, "psf_fwhm": [0.5, 0.8]}
    cards = [make_card("ground", instrument=blurred), make_card("space")]
    for fwhm, expected in ((0.2, "space"), (0.6, "ground"), (0.45, "ground"), (0.3, "space")):
        card, _ = matching_network(galaxies(**SPHERE), dataset(psf_fwhm=fwhm), cards)
        assert card.name == expected


def test_what_a_network_knows_counts_ties(tmp_path):
    """Two networks for the same parameters: the light of one shares a centre with its mass."""
    mass, bulge = af.Model(al.mp.IsothermalSph), af.Model(al.lp.SersicSph)
    free = galaxies(lens_mass=mass, lens_bulge=bulge)
    cards = [certain(tmp_path / "free", free, {NAMES[0]: 0.0, NAMES[1]: 0.0}, name="free")]
    bulge.centre = mass.centre
    cards += [certain(tmp_path / "tied", free, {NAMES[0]: 0.0, NAMES[1]: 0.0}, name="tied")]
    model = galaxies(lens_mass=al.mp.IsothermalSph, lens_bulge=al.lp.SersicSph)
    card, reason = matching_network(model, dataset(), cards)
    assert card.name == "tied"
    assert "knows 4 of 8" in reason


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (lambda: None, "there is no dataset"),
        (interferometer, "Interferometer has no psf"),
        (without_psf, "Imaging has no psf"),
        (lambda: dataset(scale=0.3, psf_fwhm=0.7), r'no network for pixels of 0.3" \(known 0.1"\)'),
    ],
    ids=["none", "interferometer", "no-psf", "pixels"],
)
def test_why_no_network_matches_the_data(make_card, data, reason):
    card, words = matching_network(galaxies(**SPHERE), data(), [make_card("known")])
    assert card is None
    assert "\n" not in words
    assert re.search(reason, words)


def test_why_no_network_matches_the_model(make_card):
    """The reason names a path of each, so that a user sees what to rename."""
    galaxy = af.Model(al.Galaxy, redshift=0.5, halo=al.mp.IsothermalSph)
    model = af.Collection(galaxies=af.Collection(G1=galaxy))
    card, reason = matching_network(model, dataset(), [make_card("known")])
    assert card is None
    assert "known" in reason
    assert "galaxies.lens.mass.centre.centre_0" in reason
    assert "galaxies.G1.halo.centre.centre_0" in reason


def test_networks_for_other_tasks_are_not_looked_at(tmp_path):
    model = galaxies(**SPHERE)
    fields = card_fields(model, untrained(1), NAMES[:1], task="finder")
    finder = Card.from_dict({**fields, "sha256": "0" * 64, "format": 1})
    assert matching_network(model, dataset(), [finder]) == (
        None,
        "no network for lens parameters is installed",
    )
