"""The models a user can name, and those brought in a file."""

import json

import autofit as af
import autolens as al
import pytest

from autolens_ml.applications.fit.model import MODELS, model_from
from autolens_ml.exceptions import ModelError


@pytest.mark.parametrize(("name", "free"), [("sie+shear+mge", 17), ("sie+shear+sersic", 19)])
def test_named_models(name, free):
    model = model_from(name, redshift_lens=0.3, redshift_source=2.0)

    assert model.prior_count == free
    assert model.galaxies.lens.redshift == 0.3
    assert model.galaxies.source.redshift == 2.0
    assert model.galaxies.lens.mass.cls is al.mp.Isothermal
    assert model.galaxies.lens.shear.cls is al.mp.ExternalShear


def test_mge_is_the_model_a_modeller_writes():
    model = model_from("sie+shear+mge", mask_radius=3.0)
    light = al.model_util.mge_model_from(
        mask_radius=3.0, total_gaussians=20, gaussian_per_basis=2, centre_prior_is_uniform=True
    )

    ours = model.galaxies.lens.bulge.profile_list
    assert [float(g.sigma) for g in ours] == [float(g.sigma) for g in light.profile_list]
    assert len(model.galaxies.source.bulge.profile_list) == 20


def test_sersic_radii_end_with_the_mask():
    model = model_from("sie+shear+sersic", mask_radius=2.2)
    for prior in (
        model.galaxies.lens.bulge.effective_radius,
        model.galaxies.source.bulge.effective_radius,
        model.galaxies.lens.mass.einstein_radius,
    ):
        assert prior.upper_limit == 2.2


@pytest.mark.parametrize("name", MODELS)
def test_json_round_trip(name, tmp_path):
    model = model_from(name)
    path = tmp_path / "model.json"
    path.write_text(json.dumps(model.dict()))

    loaded = model_from(str(path))

    # Reading makes the priors in another order: parameters are what their paths say.
    assert priors_by_path(loaded) == priors_by_path(model)


def priors_by_path(model):
    names = model.model_component_and_parameter_names
    priors = model.priors_ordered_by_id
    return {
        name: (type(prior).__name__, prior.value_for(0.2), prior.value_for(0.7))
        for name, prior in zip(names, priors, strict=True)
    }


SCRIPT = """
import autofit as af, autolens as al
def simple(mask_radius, dataset=None):
    lens = af.Model(al.Galaxy, redshift=0.5, mass=al.mp.IsothermalSph)
    lens.mass.einstein_radius = af.UniformPrior(0.0, mask_radius)
    assert dataset == "the dataset"
    return af.Collection(galaxies=af.Collection(lens=lens))
def instance():
    return 3
def no_galaxies():
    return af.Model(al.mp.IsothermalSph)
def fixed():
    return af.Collection(galaxies=af.Collection(lens=af.Model(al.Galaxy, redshift=0.5)))
def broken():
    return al.mp.Isotermal
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "models.py"
    path.write_text(SCRIPT)
    return path


def test_function_of_a_script_gets_what_it_asks_for(script):
    model = model_from(f"{script}:simple", mask_radius=2.5, dataset="the dataset")
    assert isinstance(model, af.Collection)
    assert model.galaxies.lens.mass.einstein_radius.upper_limit == 2.5


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("instance", "gave a int; return an af.Model"),
        ("no_galaxies", "has no galaxies; make it af.Collection"),
        ("fixed", "has no free parameter; give at least one a prior"),
        ("broken", "broken failed: AttributeError"),
        ("missing", "has no function 'missing'"),
        ("simple", "simple failed: AssertionError"),
    ],
)
def test_functions_that_give_no_model(script, function, message):
    with pytest.raises(ModelError, match=message) as error:
        model_from(f"{script}:{function}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("sis", "no model 'sis'; set --model to sie"),
        ("nope.json", "nope.json: no such file"),
        ("nope.py:model", "nope.py: no such file"),
    ],
)
def test_no_such_model(spec, message):
    with pytest.raises(ModelError, match=message):
        model_from(spec)


@pytest.mark.parametrize(
    "content", ["{", '{"type": "model", "class_path": "no.such.Class"}', "[1]"]
)
def test_json_that_is_no_model(tmp_path, content):
    path = tmp_path / "model.json"
    path.write_text(content)
    with pytest.raises(ModelError, match=r"model\.json") as error:
        model_from(str(path))
    assert "\n" not in str(error.value)


def test_source_in_front_of_the_lens():
    with pytest.raises(ModelError, match="set 0 < --redshift-lens < --redshift-source"):
        model_from("sie+shear+mge", redshift_lens=1.0, redshift_source=0.5)
