"""Models written for people."""

import json

import autofit as af
import autolens as al
import numpy as np
import pytest
import yaml

from autolens_ml.exceptions import AutolensMLError, ModelError, OptionError
from autolens_ml.profiles.light import PixelLight
from autolens_ml.simulate.description import model_from_description, population_from
from tests.training.small import INSTRUMENT, LENS, SOURCE, preset

POPULATION = preset().data["population"]

TEXT = """
lens:
  redshift: 0.4
  mass:
    class: al.mp.Isothermal
    centre: {gaussian: [0.0, 0.04]}
    ell_comps: [0.1, {uniform: [-0.2, 0.3]}]
    einstein_radius: {log_uniform: [0.4, 2.0]}
  bulge:
    class: al.lp.Sersic
    centre: {same_as: galaxies.lens.disk.centre}
    intensity: {truncated_gaussian: [1.0, 0.5, 0.0, 3.0]}
    sersic_index: 4.0
  disk:
    class: al.lp.Exponential
    centre: {same_as: galaxies.lens.mass.centre}
source:
  redshift: 1.5
  light:
    class: aml.lp.PixelLight
    values: {array: [[0.0, 1.0], [2.0, 3.0]]}
    pixel_scale: 0.05
"""


def described(edit=lambda galaxies: None):
    galaxies = yaml.safe_load(TEXT)
    edit(galaxies)
    return model_from_description(galaxies).galaxies


def test_everything_that_a_description_can_say():
    galaxies = described()
    lens, light = galaxies.lens, galaxies.source.light
    assert (lens.redshift, galaxies.source.redshift) == (0.4, 1.5)
    assert (lens.cls, lens.mass.cls, light.cls) == (al.Galaxy, al.mp.Isothermal, PixelLight)

    first, second = lens.mass.centre.centre_0, lens.mass.centre.centre_1
    assert isinstance(first, af.GaussianPrior) and (first.mean, first.sigma) == (0.0, 0.04)
    assert first is not second
    assert lens.mass.ell_comps.ell_comps_0 == 0.1
    uniform = lens.mass.ell_comps.ell_comps_1
    assert isinstance(uniform, af.UniformPrior)
    assert (uniform.lower_limit, uniform.upper_limit) == (-0.2, 0.3)
    radius = lens.mass.einstein_radius
    assert isinstance(radius, af.LogUniformPrior)
    assert (radius.lower_limit, radius.upper_limit) == (0.4, 2.0)
    intensity = lens.bulge.intensity
    assert isinstance(intensity, af.TruncatedGaussianPrior)
    assert (intensity.mean, intensity.sigma) == (1.0, 0.5)
    assert (intensity.lower_limit, intensity.upper_limit) == (0.0, 3.0)
    assert lens.bulge.sersic_index == 4.0
    # What is not mentioned has its default prior.
    default = af.Model(al.lp.Sersic).effective_radius
    assert type(lens.bulge.effective_radius) is type(default)
    assert lens.bulge.effective_radius.upper_limit == default.upper_limit
    np.testing.assert_array_equal(light.values, [[0.0, 1.0], [2.0, 3.0]])


def test_what_is_shared_is_one_and_the_same_along_a_chain():
    lens = described().lens
    for name in ("centre_0", "centre_1"):
        prior = getattr(lens.mass.centre, name)
        assert getattr(lens.bulge.centre, name) is prior
        assert getattr(lens.disk.centre, name) is prior


def test_one_component_may_be_shared():
    def edit(galaxies):
        galaxies["lens"]["mass"]["einstein_radius"] = {"uniform": [0.5, 1.0]}
        galaxies["lens"]["bulge"]["effective_radius"] = {
            "same_as": "galaxies.lens.mass.einstein_radius"
        }

    lens = described(edit).lens
    assert lens.bulge.effective_radius is lens.mass.einstein_radius


def mass(**values):
    return lambda galaxies: galaxies["lens"]["mass"].update(values)


BAD = {
    "nothing": (lambda g: g.clear(), "needs galaxies by name"),
    "no mapping": (lambda g: g.update(lens=3), "lens: needs a redshift"),
    "no redshift": (lambda g: g["source"].pop("redshift"), "source: needs a redshift"),
    "text for a redshift": (lambda g: g["lens"].update(redshift="z"), "lens.redshift: 'z' is no"),
    "no class": (lambda g: g["lens"]["mass"].pop("class"), "lens.mass: needs a class"),
    "a list": (lambda g: g["lens"].update(mass=[1]), "lens.mass: needs a class"),
    "unknown class": (mass(**{"class": "al.mp.Nope"}), "lens.mass: no class 'al.mp.Nope'"),
    "unknown package": (mass(**{"class": "os.path"}), "lens.mass: no class 'os.path'"),
    "a module": (mass(**{"class": "al.mp"}), "lens.mass: no class 'al.mp'"),
    "a number for a class": (mass(**{"class": 5}), "lens.mass: no class 5"),
    "unknown parameter": (mass(radius=1.0), "no parameter radius; it has centre, ell_comps"),
    "unknown array": (mass(radius={"array": [1]}), "no parameter radius"),
    "unknown prior": (mass(einstein_radius={"normal": [0, 1]}), "unknown prior 'normal'; choose"),
    "two priors": (mass(einstein_radius={"uniform": [0, 1], "gaussian": [0, 1]}), "unknown prior"),
    "no prior": (mass(einstein_radius={}), "unknown prior"),
    "one limit": (mass(einstein_radius={"uniform": [1.0]}), "needs [lower_limit, upper_limit]"),
    "three limits": (mass(einstein_radius={"uniform": [0.0, 1.0, 2.0]}), "not [0.0, 1.0, 2.0]"),
    "no list": (mass(einstein_radius={"gaussian": 1.0}), "gaussian needs [mean, sigma]"),
    "reversed": (mass(einstein_radius={"uniform": [2.0, 1.0]}), "uniform cannot take [2.0, 1.0]"),
    "zero": (mass(einstein_radius={"log_uniform": [0.0, 1.0]}), "log_uniform cannot take"),
    "text in a prior": (mass(einstein_radius={"uniform": ["1e-3", 1.0]}), "write 1.0e-3"),
    "text": (mass(einstein_radius="1e-3"), "lens.mass.einstein_radius: '1e-3' is no number"),
    "a pair": (mass(einstein_radius=[1.0, 2.0]), "[1.0, 2.0] is no number"),
    "three components": (mass(centre=[0.0, 0.0, 0.0]), "centre: needs two values, not 3"),
    "nothing to share": (mass(centre={"same_as": "galaxies.x.y"}), "nothing at 'galaxies.x.y'"),
    "no path to share": (mass(centre={"same_as": 3}), "nothing at 3 to share"),
}


@pytest.mark.parametrize("case", BAD)
def test_descriptions_of_nothing(case):
    edit, message = BAD[case]
    with pytest.raises(ModelError) as error:
        described(edit)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"modle": {}}, "population: unknown modle; known: model"),
        ({"instrument": "hubble"}, "hubble"),
        ({"instrument": {**INSTRUMENT, "depth": 3}}, "depth"),
        ({"stamps": ["hubble-deep-field"]}, "stamps must be libraries by path"),
        ({"stamps": {"galaxies.source.bulge": "no-such-folder"}}, "no-such-folder"),
        ({"model": {"type": "model", "arguments": {}}}, "af.Model.dict"),
        ({"model": {"lens": {**LENS, "bulge": {"class": "al.lp.Sérsic"}}}}, "Sérsic"),
        ({"model": 3}, "galaxies"),
    ],
)
def test_bad_populations(changes, match):
    with pytest.raises(AutolensMLError, match=match) as raised:
        population_from({**POPULATION, **changes})
    assert "\n" not in str(raised.value)


def test_populations_need_a_model_and_an_instrument():
    with pytest.raises(OptionError, match="needs model, instrument"):
        population_from({})


def test_stored_models():
    """A preset may hold what ``af.Model.dict()`` gives; making it leaves it as it is."""
    light = af.Model(al.lp.SersicSph)
    mass = af.Model(al.mp.IsothermalSph, centre=light.centre)
    lens = af.Model(al.Galaxy, redshift=0.5, mass=mass, bulge=light)
    model = af.Collection(galaxies=af.Collection(lens=lens))
    given = {**POPULATION, "model": json.loads(json.dumps(model.dict()))}
    before = json.dumps(given)
    names = population_from(given).names
    assert json.dumps(given) == before
    assert population_from(given).names == names
    assert len(names) == model.prior_count == 6


def test_described_models():
    population = population_from(POPULATION)
    assert population.noise_units and population.instrument.shape == (16, 16)
    assert set(population.model.galaxies.dict()["arguments"]) == {"lens", "source"}
    free = {**SOURCE, "redshift": {"uniform": [0.8, 1.2]}}
    with pytest.raises(ModelError, match="redshift"):
        population_from({**POPULATION, "model": {"lens": LENS, "source": free}})
