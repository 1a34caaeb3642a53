"""Which draws of a prior are kept."""

import autofit as af
import autolens as al
import numpy as np
import pytest

from autolens_ml.exceptions import ModelError, OptionError
from autolens_ml.latent import LatentSpace
from autolens_ml.simulate.population import Population
from autolens_ml.simulate.selection import Selection
from tests.simulate import models


def draws(model, n=60):
    space = LatentSpace.from_model(model)
    return space.physical_from(np.random.default_rng(1).standard_normal((n, space.dim)))


def offsets(model, parameters, lens="lens", source="source"):
    """Distance of the source from the lens over the Einstein radius, from the instances."""
    values = []
    for vector in parameters:
        galaxies = model.instance_from_vector(list(vector), ignore_assertions=True).galaxies
        mass, light = getattr(galaxies, lens).mass, getattr(galaxies, source).light
        distance = np.hypot(*np.subtract(light.centre, mass.centre))
        values.append(distance / mass.einstein_radius)
    return np.array(values)


def asserted_model():
    """An assertion of the whole, one of a part, and a chain of them."""
    model = models.plain_model()
    mass, light = model.galaxies.lens.mass, model.galaxies.source.light
    model.add_assertion(mass.einstein_radius > 2.0 * light.effective_radius)
    light.add_assertion(light.intensity < 3.0)
    model.add_assertion((mass.centre.centre_0 > -0.2) < 0.15)
    return model


def test_assertions_hold_as_autofit_has_them():
    model = asserted_model()
    parameters = draws(model)

    def is_valid(vector):
        try:
            model.instance_from_vector(list(vector))
        except af.exc.FitException:
            return False
        return True

    valid = np.array([is_valid(vector) for vector in parameters])
    assert 0.2 < valid.mean() < 0.8
    np.testing.assert_array_equal(Selection(model).accepts(parameters), valid)


def test_populations_draw_no_lens_against_an_assertion():
    model = asserted_model()
    population = Population(model, models.SMALL_CAMERA, max_source_offset=0.5)
    latents = population.draw(70, np.random.default_rng(2))
    parameters = population.space.physical_from(latents)
    for vector in parameters:
        model.instance_from_vector(list(vector))  # raises where an assertion fails
    assert offsets(model, parameters).max() <= 0.5


@pytest.mark.parametrize("limit", [0.2, 0.6])
def test_sources_are_behind_the_lens(limit):
    model = models.plain_model()
    parameters = draws(model)
    expected = offsets(model, parameters) <= limit
    assert 0.05 < expected.mean() < 0.9
    np.testing.assert_array_equal(Selection(model, limit).accepts(parameters), expected)


def test_fixed_and_computed_centres_count():
    model = models.plain_model()
    mass, light = model.galaxies.lens.mass, model.galaxies.source.light
    mass.centre = (0.3, 0.0)
    light.centre.centre_0 = light.centre.centre_1 + 0.2
    parameters = draws(model)
    expected = offsets(model, parameters) <= 0.4
    assert 0.05 < expected.mean() < 0.9
    np.testing.assert_array_equal(Selection(model, 0.4).accepts(parameters), expected)


def test_the_lens_is_the_heaviest_and_the_source_the_farthest():
    light = models.light()
    halo = models.mass()
    halo.einstein_radius = af.UniformPrior(0.01, 0.05)
    model = models.galaxies(
        source=models.source(3.0),
        halo=models.source(1.0, mass=halo, light=light),
        lens=models.lens(light=models.light()),
        behind=models.source(4.0, mass=models.mass()),
    )
    # Another neighbour may be heavier, and comes last.
    model.extra_galaxies = af.Collection(group=models.lens())
    model.extra_galaxies.group.mass.einstein_radius = af.UniformPrior(5.0, 6.0)
    parameters = draws(model)
    expected = offsets(model, parameters) <= 0.4
    np.testing.assert_array_equal(Selection(model, 0.4).accepts(parameters), expected)


def test_a_light_basis_has_the_centre_of_its_profiles():
    centre = af.GaussianPrior(mean=0.0, sigma=0.3), af.GaussianPrior(mean=0.0, sigma=0.3)
    gaussians = [af.Model(al.lp.GaussianSph, sigma=s, intensity=1.0) for s in (0.1, 0.3)]
    for gaussian in gaussians:
        gaussian.centre.centre_0, gaussian.centre.centre_1 = centre
    model = models.galaxies(
        lens=models.lens(),
        source=models.source(light=af.Model(al.lp_basis.Basis, profile_list=gaussians)),
    )
    parameters = draws(model)
    values = []
    for vector in parameters:
        galaxies = model.instance_from_vector(list(vector)).galaxies
        mass, light = galaxies.lens.mass, galaxies.source.light.profile_list[0]
        distance = np.hypot(*np.subtract(light.centre, mass.centre))
        values.append(distance <= 0.3 * mass.einstein_radius)
    np.testing.assert_array_equal(Selection(model, 0.3).accepts(parameters), values)


def test_a_selection_that_keeps_hardly_any_draw():
    population = Population(models.plain_model(), models.SMALL_CAMERA, max_source_offset=1e-5)
    with pytest.raises(ModelError, match=r"only 0 of \d+ draws .* narrow the priors") as error:
        population.draw(3, np.random.default_rng(0))
    assert "\n" not in str(error.value)


def test_selections_that_make_no_sense():
    light_only = models.galaxies(a=models.source(), b=models.source(2.0))
    with pytest.raises(ModelError, match="needs a mass profile with an einstein_radius"):
        Selection(light_only, 0.5)
    for limit in (0.0, -1.0, float("nan")):
        with pytest.raises(OptionError, match="max_source_offset must be positive"):
            Selection(models.plain_model(), limit)
