"""The latent space of real models."""

import math

import autofit as af
import autolens as al
import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from autolens_ml.inference.target import Target
from autolens_ml.latent import LatentSpace, blocks_of

PRIORS = {
    "uniform": lambda: af.UniformPrior(-1.0, 3.0),
    "uniform-tiny": lambda: af.UniformPrior(1e-8, 3e-8),
    "gaussian": lambda: af.GaussianPrior(1.0, 2.0),
    "log-uniform": lambda: af.LogUniformPrior(1e-3, 1e3),
    "truncated": lambda: af.TruncatedGaussianPrior(0.5, 1.0, 0.0, 1.5),
    "log-gaussian": lambda: af.LogGaussianPrior(0.3, 0.5),
}


class Line:
    """A straight line."""

    def __init__(self, slope=0.0, offset=0.0):
        self.slope, self.offset = slope, offset


class ScalarPrior:
    """A user's prior, of which nothing but scalars can be asked: exp(-x) for positive x."""

    def value_for(self, unit):
        return -math.log1p(-unit)

    def unit_value_for(self, value):
        return -math.expm1(-value)


class BranchingPrior(ScalarPrior):
    """One that branches on the unit value."""

    def value_for(self, unit):
        return 0.25 if unit < 0.25 else float(unit)


def model_with(name):
    return af.Model(Line, slope=PRIORS[name](), offset=PRIORS["gaussian"]())


@pytest.mark.parametrize("name", PRIORS)
def test_physical_values_are_those_of_autofit(name):
    model = model_with(name)
    space = LatentSpace.from_model(model)
    unit = np.random.default_rng(0).uniform(1e-4, 1.0 - 1e-4, (40, 2))
    expected = [model.vector_from_unit_vector(list(u)) for u in unit]
    np.testing.assert_allclose(space.physical_from(ndtri(unit)), expected, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("name", PRIORS)
def test_round_trip(name):
    space = LatentSpace.from_model(model_with(name))
    z = np.random.default_rng(1).uniform(-4.0, 4.0, (50, 2))
    np.testing.assert_allclose(space.latent_from(space.physical_from(z)), z, atol=1e-8)


@pytest.mark.parametrize("name", PRIORS)
def test_finite_in_the_far_tails(name):
    """Proposals draw far out: values stay finite, within limits, and in order."""
    space = LatentSpace.from_model(model_with(name))
    z = np.linspace(-40.0, 40.0, 81)[:, None] * np.ones(2)
    physical = space.physical_from(z)
    assert np.all(np.isfinite(physical))
    assert np.all(np.diff(physical, axis=0) >= 0.0)
    limits = {"uniform": (-1.0, 3.0), "log-uniform": (1e-3, 1e3), "truncated": (0.0, 1.5)}
    low, high = limits.get(name, (-np.inf, np.inf))
    assert np.all((physical[:, 0] >= low - 1e-9) & (physical[:, 0] <= high * (1 + 1e-9)))


def normal_pdf(z):
    return np.exp(-0.5 * z**2) / np.sqrt(2.0 * np.pi)


@pytest.mark.parametrize(
    ("name", "derivative"),
    [
        ("uniform", lambda z, x: 4.0 * normal_pdf(z)),
        ("gaussian", lambda z, x: 2.0 + 0.0 * z),
        ("log-uniform", lambda z, x: x * 6.0 * math.log(10.0) * normal_pdf(z)),
        ("log-gaussian", lambda z, x: 0.5 * x),
        (
            "truncated",
            lambda z, x: (
                (0.8413447460685429 - 0.3085375387259869) * normal_pdf(z) / normal_pdf(x - 0.5)
            ),
        ),
    ],
)
def test_derivative_is_the_analytic_one(name, derivative):
    space = LatentSpace.from_model(model_with(name))
    z = np.random.default_rng(2).uniform(-3.0, 3.0, (40, 2))
    expected = derivative(z[:, 0], space.physical_from(z)[:, 0])
    np.testing.assert_allclose(space.derivative_from(z)[:, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("prior", [ScalarPrior(), BranchingPrior()], ids=["scalar", "branching"])
@pytest.mark.parametrize("n", [1, 2, 7])
def test_prior_that_takes_scalars_only(prior, n):
    """Beside one of autofit, and alone; for many points and for one."""
    z = np.random.default_rng(3).normal(size=(n, 2))
    expected = np.array([[prior.value_for(float(ndtr(v))) for v in row] for row in z])
    alone = LatentSpace([prior, prior]).physical_from(z)
    assert alone.shape == (n, 2)
    np.testing.assert_allclose(alone, expected)
    mixed = LatentSpace([prior, af.UniformPrior(0.0, 1.0)]).physical_from(z)
    assert mixed.shape == (n, 2)
    np.testing.assert_allclose(mixed[:, 0], expected[:, 0])


def test_target_with_a_prior_that_takes_scalars_only():
    """Gradients are asked for one point at a time."""
    space = LatentSpace([ScalarPrior(), af.UniformPrior(0.0, 1.0)])
    target = Target(space, lambda x: -float(x @ x), lambda x: (-float(x @ x), -2.0 * x))
    z = np.array([0.3, -0.7])
    value, gradient = target.log_posterior_and_gradient(z)
    assert value == pytest.approx(target.log_posterior(z[None])[0])
    step = 1e-5 * np.eye(2)
    expected = (target.log_posterior(z + step) - target.log_posterior(z - step)) / 2e-5
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)


def test_names_are_model_paths():
    """In autofit's order, which is that of creation and not of the model."""
    offset, slope = af.UniformPrior(0.0, 1.0), af.UniformPrior(0.0, 1.0)
    second = af.Model(Line, slope=af.UniformPrior(0.0, 1.0), offset=af.GaussianPrior(0.0, 1.0))
    model = af.Collection(first=af.Model(Line, slope=slope, offset=offset), second=second)
    space = LatentSpace.from_model(model)
    assert space.names[:2] == ("first.offset", "first.slope")
    assert set(space.names[2:]) == {"second.slope", "second.offset"}
    assert space.dim == 4
    z = np.random.default_rng(4).normal(size=(1, 4))
    instance = model.instance_from_vector(list(space.physical_from(z)[0]))
    for name, value in zip(space.names, space.physical_from(z)[0], strict=True):
        component, parameter = name.split(".")
        assert getattr(getattr(instance, component), parameter) == pytest.approx(value)


def lens_model():
    """A lens with two bases of Gaussians that share a centre, shear and a source."""
    bulge = al.model_util.mge_model_from(
        mask_radius=3.0, total_gaussians=4, gaussian_per_basis=2, centre_prior_is_uniform=True
    )
    lens = af.Model(
        al.Galaxy,
        redshift=0.5,
        bulge=bulge,
        mass=al.mp.Isothermal,
        shear=al.mp.ExternalShear,
    )
    source = af.Model(al.Galaxy, redshift=1.0, bulge=al.lp.Sersic)
    return af.Collection(galaxies=af.Collection(lens=lens, source=source))


def test_blocks_of_a_lens_model():
    """Shared centres are a block of their own; so are the ellipticities of each basis."""
    model = lens_model()
    names = LatentSpace.from_model(model).names
    blocks = [tuple(names[i] for i in block) for block in blocks_of(model)]
    assert sorted(len(block) for block in blocks) == [2, 2, 2, 2, 5, 7]
    assert sorted(i for block in blocks_of(model) for i in block) == list(range(len(names)))
    pairs = [block for block in blocks if len(block) == 2]
    assert sum(all(".centre" in name for name in block) for block in pairs) == 1
    assert sum(all(".ell_comps" in name for name in block) for block in pairs) == 2
    assert ("galaxies.lens.shear.gamma_1", "galaxies.lens.shear.gamma_2") in blocks
    for owner, size in (("lens.mass", 5), ("source.bulge", 7)):
        block = next(b for b in blocks if len(b) == size)
        assert all(name.startswith(f"galaxies.{owner}.") for name in block)


def test_a_block_is_never_the_whole_model():
    assert (
        blocks_of(af.Model(Line, **{k: af.UniformPrior(0, 1) for k in ("slope", "offset")})) == []
    )


def test_lens_model_maps_like_autofit():
    """All default priors of a real model at once."""
    model = lens_model()
    unit = np.random.default_rng(5).uniform(0.01, 0.99, (10, model.prior_count))
    expected = [model.vector_from_unit_vector(list(u)) for u in unit]
    physical = LatentSpace.from_model(model).physical_from(ndtri(unit))
    np.testing.assert_allclose(physical, expected, rtol=1e-9, atol=1e-12)
