"""The profiles as model components: priors, labels, files, and whose configuration wins."""

import json
from pathlib import Path

import autofit as af
import autolens as al
import pytest
from autonerves import conf

import autolens_ml as aml

FREE = {
    aml.mp.VortexLine: 6,
    aml.mp.VortexLineComps: 6,
    aml.mp.VortexTube: 6,
    aml.mp.MassSheet: 1,
}
CLASSES = pytest.mark.parametrize("cls", list(FREE), ids=lambda c: c.__name__)


def lens_model():
    return af.Collection(
        galaxies=af.Collection(
            lens=af.Model(
                al.Galaxy,
                redshift=0.5,
                mass=al.mp.Isothermal,
                line=aml.mp.VortexLine,
                tube=aml.mp.VortexTube,
                sheet=aml.mp.MassSheet,
                scaled=af.Model(aml.mp.ScaledMass, profile=af.Model(al.mp.IsothermalSph)),
            )
        )
    )


@CLASSES
def test_models_compose_and_print(cls):
    model = af.Model(cls)
    assert model.prior_count == FREE[cls]
    assert f"{cls.__name__} (N={FREE[cls]})" in model.info
    for name in vars(cls()):
        assert name in model.info or name == "ell_comps" or getattr(cls(), name) is None
    instance = model.instance_from_prior_medians()
    assert isinstance(instance, cls)


@CLASSES
def test_every_free_parameter_has_a_label_and_a_format(cls):
    notation = conf.instance["notation"]
    names = {path[-1] for path in af.Model(cls).paths} | ({"radius"} & set(vars(cls())))
    for name in names:
        # A name without an entry raises.
        assert notation["label"]["label"][name]
        assert "{" in notation["label_format"]["format"][name]


def test_model_json_round_trip(tmp_path):
    model = lens_model()
    path = tmp_path / "model.json"
    al.output_to_json(model, path)
    back = af.AbstractPriorModel.from_json(str(path))
    # The order follows prior ids, which are new in a file's model: compare by path.
    before, after = dict(model.path_priors_tuples), dict(back.path_priors_tuples)
    assert before.keys() == after.keys() and len(before) == model.prior_count
    for p, prior in before.items():
        assert type(after[p]) is type(prior) and after[p].parameter_string == prior.parameter_string


@pytest.mark.parametrize(
    "profile",
    [
        aml.mp.VortexLine((0.1, 0.2), 12.0, 0.4, 0.03, -0.2),
        aml.mp.VortexTube((0.1, 0.2), 12.0, 0.4, 0.03, 0.2),
        aml.mp.MassSheet((0.1, 0.2), -0.1, 0.7),
        aml.mp.MassSheet(),
        aml.mp.ScaledMass(al.mp.Isothermal(einstein_radius=1.1), 0.9),
    ],
    ids=lambda p: type(p).__name__,
)
def test_instances_round_trip(profile, tmp_path):
    al.output_to_json(profile, tmp_path / "profile.json")
    back = al.from_json(tmp_path / "profile.json")
    assert type(back) is type(profile)
    assert str(back) == str(profile)
    tracer = al.Tracer([al.Galaxy(redshift=0.5, mass=profile), al.Galaxy(redshift=1.0)])
    al.output_to_json(tracer, tmp_path / "tracer.json")
    assert str(al.from_json(tmp_path / "tracer.json").galaxies[0].mass) == str(profile)


def test_the_sign_of_the_mass_can_be_free():
    model = af.Model(aml.mp.VortexLine)
    model.einstein_radius = af.UniformPrior(lower_limit=-0.5, upper_limit=0.5)
    instance = model.instance_from_unit_vector([0.5, 0.5, 0.5, 0.5, 0.5, 0.1])
    assert instance.einstein_radius == pytest.approx(-0.4)


def test_a_workspace_configuration_wins(tmp_path):
    priors = tmp_path / "config" / "priors" / "mass"
    priors.mkdir(parents=True)
    entry = {
        "type": "Uniform",
        "lower_limit": 0.11,
        "upper_limit": 0.22,
        "width_modifier": {"type": "Absolute", "value": 0.05},
        "limits": {"lower": 0.0, "upper": 1.0},
    }
    (priors / "vortex.json").write_text(json.dumps({"VortexLine": {"half_length": entry}}))
    configs = conf.instance.configs
    assert af.Model(aml.mp.VortexLine).half_length.upper_limit == 2.0
    try:
        conf.instance.push(tmp_path / "config")
        # Registering again, as an import does, must not come before the user's either.
        conf.instance.register(aml.__file__)
        model = af.Model(aml.mp.VortexLine)
        assert (model.half_length.lower_limit, model.half_length.upper_limit) == (0.11, 0.22)
        assert model.einstein_radius.upper_limit == 0.8
    finally:
        conf.instance.configs = configs


def test_the_configuration_is_inside_the_package():
    config = Path(aml.__file__).parent / "config"
    names = {str(p.relative_to(config)) for p in config.rglob("*.yaml")}
    assert {"priors/mass/vortex.yaml", "priors/mass/sheet.yaml", "notation.yaml"} <= names
