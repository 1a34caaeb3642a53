"""The loop: its gradients, its preconditioning, what networks are told and what they are not."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from autolens_ml.exceptions import OptionError
from autolens_ml.inference.reconstruction import loop as loops
from autolens_ml.inference.reconstruction.loop import (
    FEATURES,
    Latents,
    Loop,
    LoopOptions,
    Observed,
    gaussian_psfs,
    units_of,
)
from autolens_ml.simulate.maps import einstein_radii_from
from tests.inference.reconstruction.lenses import (
    OPTIONS,
    SIZE,
    latents,
    network,
    observed,
    true_maps,
)

IDENTITY = replace(OPTIONS, source_link="identity")


class Oracle(nn.Module):
    """A network that knows the truth, and goes a share of the way in each step."""

    def __init__(self, maps, share=1.0):
        super().__init__()
        self.maps, self.share, self.seen = maps, share, []

    def forward(self, given, hidden=None):
        self.seen.append(given)
        at = [FEATURES.index(name) for name in ("source", "convergence")]
        wrong = [self.maps.source - given[:, at[0]], self.maps.convergence - given[:, at[1]]]
        shear = (self.maps.shear - 0.05 * given[:, 9:11, 0, 0]) / 0.05
        return self.share * torch.stack(wrong, dim=1), self.share * shear, []


def test_at_the_truth_data_are_reproduced_to_the_noise():
    seen = observed(n=4)
    states = Loop(IDENTITY).unroll(Oracle(true_maps(4)), seen)
    assert [len(state.source) for state in states] == [4, 4, 4]
    # One of pixels that are used: the mean of 560 squares of unit normals in each lens.
    for state in states:
        assert state.chi_squared.mean() == pytest.approx(1.0, abs=0.1)
    assert torch.allclose(states[0].latents.shear, true_maps(4).shear, atol=1e-6)


def test_chi_squared_is_that_of_the_states_images():
    seen = observed(n=2)
    for state in Loop(OPTIONS).unroll(network(), seen):
        residuals = (seen.image - state.image) / seen.noise_map
        expected = residuals[seen.mask > 0].reshape(2, -1).square().mean(dim=1)
        assert torch.allclose(state.chi_squared, expected, rtol=1e-4)


def test_gradients_are_those_of_half_chi_squared():
    # A bilinear source has slopes that jump.
    loop, seen, maps = Loop(replace(IDENTITY, lookup="bicubic")), observed(), true_maps()
    start = latents(maps._replace(source=0.8 * maps.source, convergence=maps.convergence - 0.02))
    with torch.enable_grad():
        at = Latents(*(each.requires_grad_() for each in start))
        sight = loop._sight(seen, loop.state(seen, at))

    def half_chi_squared(where):
        image = loop.lens(where.convergence, where.source, where.shear, seen.psf).double()
        residuals = seen.mask * (seen.image.double() - image) / seen.noise_map
        return 0.5 * residuals.square().sum().item()

    rng = np.random.default_rng(1)
    for name, step in (("source", 1e-2), ("convergence", 1e-3), ("shear", 2e-4)):
        value = getattr(start, name).detach()
        towards = torch.from_numpy(rng.normal(size=value.shape)).float()
        if name != "shear":
            towards = torch.nn.functional.avg_pool2d(towards[:, None], 5, 1, 2)[:, 0]
        ends = [
            half_chi_squared(start._replace(**{name: value + sign * step * towards}))
            for sign in (1.0, -1.0)
        ]
        slope = (getattr(sight.gradients, name) * towards).sum().item()
        assert slope == pytest.approx((ends[0] - ends[1]) / (2.0 * step), rel=0.03), name


def test_gradients_are_preconditioned_as_the_steps_of_adam():
    generator = torch.Generator().manual_seed(1)
    parameter = torch.zeros(2, 3, requires_grad=True)
    adam = torch.optim.Adam([parameter], lr=1.0, betas=(0.9, 0.99), eps=1e-8)
    moments = None
    for t in range(1, 6):
        gradient = 10.0 ** (t - 2) * torch.randn(2, 3, generator=generator)
        before = parameter.detach().clone()
        parameter.grad = gradient.clone()
        adam.step()
        given = Latents(gradient, gradient, gradient)
        moments, found = loops._preconditioned(moments, given, t)
        for each in found:
            assert torch.allclose(each, before - parameter.detach(), rtol=1e-4, atol=1e-6)


def test_networks_are_told_and_do_not_learn_through_what_they_are_told():
    seen, oracle = observed(), Oracle(true_maps(), share=0.3)
    oracle.maps = true_maps()._replace(source=true_maps().source.requires_grad_())
    states = Loop(IDENTITY).unroll(oracle, seen, through_lens=True)
    of = dict.fromkeys(name for name in FEATURES if name not in ("shear", "shear_gradient"))
    given = {name: oracle.seen[1][:, i] for i, name in enumerate(of)}
    # Before the first step there is no gradient, and the residuals are the data.
    first = oracle.seen[0]
    assert not first[:, FEATURES.index("source_gradient")].any()
    assert torch.allclose(
        first[:, FEATURES.index("residuals")], torch.asinh(seen.mask * seen.image / seen.noise_map)
    )
    assert given["source"].requires_grad and states[1].chi_squared.requires_grad
    alone = oracle.seen[1].detach()
    for name in ("source_gradient", "convergence_gradient", "residuals", "back_projection"):
        i = list(of).index(name)
        assert alone[:, i].any()
    told = oracle.seen[1][:, 3:].sum()
    (learned,) = torch.autograd.grad(told, oracle.maps.source, allow_unused=True)
    assert learned is None or not learned.any()


def test_images_are_learned_through_only_where_it_is_asked_for():
    seen, small = observed(), network()
    for through in (True, False):
        last = Loop(OPTIONS).unroll(small, seen, through_lens=through)[-1]
        assert last.chi_squared.requires_grad is through
        assert last.source.requires_grad and last.latents.shear.requires_grad
    with torch.no_grad():
        last = Loop(OPTIONS).unroll(small, seen, through_lens=True)[-1]
    assert not last.chi_squared.requires_grad and not last.source.requires_grad


def test_states_do_not_depend_on_what_is_learned_through():
    seen, small = observed(n=2), network()
    one, other = (Loop(OPTIONS).unroll(small, seen, through_lens=t) for t in (True, False))
    for a, b in zip(one, other, strict=True):
        assert torch.allclose(a.source, b.source, atol=1e-5)
        assert torch.allclose(a.chi_squared, b.chi_squared, rtol=1e-4)


def test_masked_pixels_are_not_seen():
    seen, small = observed(n=2), network()
    wild = torch.where(seen.mask > 0, seen.image, 1e6)
    other = replace(
        seen, image=wild, noise_map=torch.where(seen.mask > 0, seen.noise_map, float("nan"))
    )
    states = [Loop(OPTIONS).unroll(small, each)[-1] for each in (seen, other)]
    assert torch.equal(states[0].source, states[1].source)
    assert torch.equal(states[0].chi_squared, states[1].chi_squared)


def test_without_a_lens_residuals_are_projected_back_to_where_they_are():
    options = replace(IDENTITY, source_pixel_scale=IDENTITY.pixel_scale)
    loop = Loop(options)
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(1, SIZE, SIZE, generator=generator)
    point = torch.zeros(1, 3, 3)
    point[:, 1, 1] = 1.0
    ones = torch.ones_like(image)
    seen = Observed(image, 0.1 * ones, ones, point, torch.full((1,), 0.3))
    at = Latents(torch.zeros_like(image), torch.full_like(image, -6.0), torch.zeros(1, 2))
    state = loop.state(seen, Latents(*(each.requires_grad_() for each in at)))
    sight = loop._sight(seen, state)
    assert torch.allclose(sight.back_projection, image, rtol=2e-3, atol=1e-4)
    assert torch.allclose(sight.residuals, 10.0 * image, rtol=1e-4)


def test_sources_are_above_zero_and_bright_ones_as_their_latents():
    loop = Loop(OPTIONS)
    at = torch.linspace(-1.0, 2.0, 50)
    light = loop.surface_brightness(at)
    assert light.min() >= 0.0 and (light.diff() > 0.0)[15:].all()
    assert torch.allclose(light[at > 0.2], at[at > 0.2], atol=1e-5)
    assert torch.equal(Loop(IDENTITY).surface_brightness(at), at)


@pytest.mark.parametrize("radius", [0.7, 1.0])
def test_the_loop_starts_from_an_isothermal_sphere(radius):
    options = LoopOptions(shape=(48, 48), source_shape=(48, 48), start_radius=radius)
    kappa = 10.0 ** Loop(options).start(2).convergence[1].numpy()
    found, centre = einstein_radii_from(kappa[None], options.pixel_scale)
    # A core of half a pixel takes as much of its radius.
    assert found[0] == pytest.approx(radius, abs=0.05) and np.allclose(centre, 0.0, atol=1e-3)
    flat = Loop(replace(options, start_radius=0.0)).start(1).convergence
    assert not flat.any()


def test_units_are_the_peak_and_scale_with_the_data():
    seen = observed(n=3)
    image = torch.where(seen.mask > 0, seen.image, 1e9)
    units = units_of(image, seen.noise_map, seen.mask)
    peak = seen.image.amax(dim=(1, 2))
    assert ((units > 0.4 * peak) & (units < peak)).all()
    assert torch.allclose(units_of(7.0 * image, 7.0 * seen.noise_map, seen.mask), 7.0 * units)
    # Of nothing but noise, not less than the noise.
    nothing = units_of(torch.zeros_like(image), seen.noise_map, seen.mask)
    assert torch.allclose(nothing, seen.noise_map[:, 0, 0])


def test_point_spread_functions_have_their_width():
    kernels = gaussian_psfs(torch.tensor([0.3, 0.6]), 0.1, 31)
    assert torch.allclose(kernels.sum(dim=(1, 2)), torch.ones(2))
    places = 0.1 * (torch.arange(31) - 15.0)
    variance = (kernels.sum(dim=1) * places.square()).sum(dim=1)
    assert torch.allclose(2.3548 * variance.sqrt(), torch.tensor([0.3, 0.6]), rtol=1e-3)


def test_networks_may_leave_shear_alone():
    class Without(nn.Module):
        def __init__(self):
            super().__init__()
            self.all = network()

        def forward(self, given, hidden=None):
            updates, numbers, hidden = self.all(given, hidden)
            return updates, numbers[:, :0], hidden

    states = Loop(OPTIONS).unroll(Without(), observed(), through_lens=True)
    assert not states[-1].latents.shear.any() and states[-1].chi_squared.requires_grad


def test_features_may_be_left_out():
    options = replace(OPTIONS, features=FEATURES[:5])
    assert (options.n_inputs, OPTIONS.n_inputs) == (5, 13)
    states = Loop(options).unroll(network(options), observed())
    assert torch.isfinite(states[-1].source).all()


def test_options_are_plain_values():
    assert LoopOptions.from_dict(OPTIONS.as_dict()) == OPTIONS


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source_shape": (8, 8)}, "make them the same"),
        ({"shape": 24}, "shape must be a list"),
        ({"n_steps": 0}, "n_steps must be a whole number"),
        ({"source_link": "exp"}, "source_link must be one of"),
        ({"start_radius": -1.0}, "start_radius must be 0 or more"),
        ({"features": ("source", "image")}, "in this order"),
        ({"features": ()}, "features must be some of"),
    ],
)
def test_bad_options_are_refused(changes, message):
    with pytest.raises(OptionError, match=message):
        replace(OPTIONS, **changes)


def test_unknown_options_are_refused():
    with pytest.raises(OptionError, match="no mapping of"):
        LoopOptions.from_dict({"steps": 3})
