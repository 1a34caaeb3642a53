"""Figures that must not fail on odd samples; those of a whole fit are tested with the fit."""

import autofit as af
import autolens as al
import numpy as np
import pytest
from matplotlib import image as mpimg

from autolens_ml.plot import corner
from autolens_ml.plot.corner_plots import label_from, main_parameters


@pytest.fixture
def samples() -> af.SamplesNest:
    model = af.Collection(
        galaxies=af.Collection(lens=af.Model(al.Galaxy, redshift=0.5, mass=al.mp.IsothermalSph))
    )
    rng = np.random.default_rng(2)
    vectors = rng.normal(size=(300, 3)) * [0.01, 0.0, 0.02] + [0.0, 0.1, 1.2]
    return af.SamplesNest(
        model=model,
        sample_list=af.Sample.from_lists(
            model=model,
            parameter_lists=vectors.tolist(),
            log_likelihood_list=[0.0] * 300,
            log_prior_list=[0.0] * 300,
            weight_list=rng.uniform(size=300).tolist(),
        ),
        samples_info={},
    )


def test_corner_draws_a_parameter_without_spread(samples, tmp_path):
    path = corner(samples, tmp_path / "new" / "corner.png")
    assert mpimg.imread(path).shape[0] > 300


def test_corner_marks_the_truth(samples, tmp_path):
    name = "galaxies.lens.mass.einstein_radius"
    plain = corner(samples, tmp_path / "plain.png", parameters=[name])
    marked = corner(samples, tmp_path / "marked.png", parameters=[name], truth={name: 1.2})

    def red(path):
        pixels = mpimg.imread(path)[..., :3]
        return np.sum((pixels[..., 0] > 0.6) & (pixels[..., 2] < 0.4))

    assert red(plain) == 0
    assert red(marked) > 50


def test_main_parameters_are_those_of_the_mass():
    names = [
        "galaxies.lens.bulge.centre_0",
        "galaxies.lens.shear.gamma_1",
        "galaxies.lens.mass.centre_0",
        "galaxies.lens.mass.einstein_radius",
    ]
    assert main_parameters(names) == [names[3], names[1], names[2]]
    assert main_parameters(names[:1] * 20) == names[:1] * 8


def test_axis_labels():
    assert (
        label_from("galaxies.lens.bulge.profile_list.39.ell_comps_0") == "lens bulge\nell_comps_0"
    )
