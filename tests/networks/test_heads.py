"""Heads: invariants of conditional densities, over the whole family."""

import math

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from autolens_ml.networks.heads import FlowHead, GaussianMixture, MixtureHead

N, N_FEATURES = 3, 16
HEADS = {
    "mixture": lambda dim: MixtureHead(N_FEATURES, dim, n_components=3),
    "flow": lambda dim: FlowHead(N_FEATURES, dim, n_transforms=2, n_hidden=16, n_bins=4),
}
LOG_2_PI = math.log(2.0 * math.pi)

every_head = pytest.mark.parametrize("name", HEADS)


def head_of(name: str, dim: int):
    """A head as after training: no two components or conditions alike."""
    torch.manual_seed(dim)
    head = HEADS[name](dim)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return head


def features(n: int = N) -> torch.Tensor:
    return torch.randn(n, N_FEATURES, generator=torch.Generator().manual_seed(7))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def grid(dim: int, half_width: float = 9.0, n: int = 121) -> tuple[torch.Tensor, float]:
    """Points, shape (m, 1, dim), and the volume of each."""
    axis = torch.linspace(-half_width, half_width, n)
    points = torch.cartesian_prod(*[axis] * dim).reshape(-1, 1, dim)
    return points, float(axis[1] - axis[0]) ** dim


def probabilities(density, points: torch.Tensor, volume: float) -> torch.Tensor:
    """Of every cell of a grid, shape (m, N), in double precision."""
    return density.log_prob(points.expand(-1, N, -1)).double().exp() * volume


@every_head
@pytest.mark.parametrize("dim", [1, 2, 5])
def test_shapes_and_broadcasting(name, dim):
    density = head_of(name, dim)(features())
    z = torch.randn(4, 2, N, dim, generator=seeded())
    log_prob = density.log_prob(z)
    assert log_prob.shape == (4, 2, N) and log_prob.isfinite().all()
    torch.testing.assert_close(density.log_prob(z[1, 0]), log_prob[1, 0])
    draws = density.sample(7, seeded())
    assert draws.shape == (7, N, dim) and draws.isfinite().all()


@every_head
def test_slices_are_those_of_the_batch(name):
    head = head_of(name, 3)
    density, z = head(features()), torch.randn(N, 3, generator=seeded())
    torch.testing.assert_close(density[1:].log_prob(z[1:]), density.log_prob(z)[1:])
    torch.testing.assert_close(
        density[1:2].sample(5, seeded()), head(features()[1:2]).sample(5, seeded())
    )


@every_head
@pytest.mark.parametrize("dim", [1, 2])
def test_integrates_to_one(name, dim):
    density = head_of(name, dim)(features())
    total = probabilities(density, *grid(dim)).sum(0)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0.0, atol=2e-3)


@every_head
@torch.no_grad()
def test_draws_have_the_moments_of_the_density(name):
    density = head_of(name, 2)(features())
    points, volume = grid(2)
    weights = probabilities(density, points, volume)
    n = 40_000
    draws = density.sample(n, seeded()).double()
    z = points.double().expand(-1, N, -1)
    for power in (1, 2, 3):
        expected = (weights[..., None] * z**power).sum(0)
        error = ((weights[..., None] * z ** (2 * power)).sum(0) - expected**2).sqrt() / n**0.5
        assert ((draws**power).mean(0) - expected).abs().div(error).max() < 4.5
    # Correlations as well.
    expected = (weights * z[..., 0] * z[..., 1]).sum(0)
    product = draws[..., 0] * draws[..., 1]
    assert (product.mean(0) - expected).abs().div(product.std(0) / n**0.5).max() < 4.5


@every_head
def test_draws_depend_on_the_generator_alone(name):
    density = head_of(name, 3)(features())
    draws = density.sample(5, seeded(1))
    torch.manual_seed(99)
    state = torch.get_rng_state()
    assert torch.equal(density.sample(5, seeded(1)), draws)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(density.sample(5, seeded(2)), draws)


@every_head
@pytest.mark.parametrize("dim", [1, 2, 5])
def test_every_parameter_learns(name, dim):
    head = head_of(name, dim)
    z = torch.randn(64, N, dim, generator=seeded())
    head(features()).log_prob(z).sum().backward()
    for parameter_name, parameter in head.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.any(), parameter_name


@every_head
def test_conditions_matter(name):
    head, z = head_of(name, 2), torch.zeros(N, 2)
    other = head(features() + 1.0).log_prob(z)
    assert not torch.allclose(head(features()).log_prob(z), other, atol=1e-3)


@every_head
def test_mixed_precision_leaves_densities_exact(name):
    head, z = head_of(name, 4), torch.randn(N, 4, generator=seeded())
    expected = head(features()).log_prob(z)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(head(features()).log_prob(z), expected)
        assert head(features().bfloat16()).log_prob(z).dtype == torch.float32


@every_head
def test_untrained_heads_are_no_worse_than_a_wide_prior(name):
    torch.manual_seed(0)
    z = torch.randn(2000, N, 3)
    log_prob = HEADS[name](3)(features()).log_prob(z).mean()
    entropy = 0.5 * 3 * (1.0 + LOG_2_PI)
    assert -entropy - 3.0 < log_prob <= -entropy + 0.1


@every_head
def test_widths_stay_within_bounds(name):
    """Features far from all training cannot make a density infinite, or a draw."""
    density = head_of(name, 3)(1e3 * features())
    draws = density.sample(100, seeded())
    assert draws.isfinite().all() and density.log_prob(draws).isfinite().all()


def test_mixture_is_that_of_torch():
    generator = seeded()
    weights = torch.rand(N, 2, generator=generator)
    log_weights = (weights / weights.sum(-1, keepdim=True)).log()
    means = torch.randn(N, 2, 3, generator=generator)
    diagonal = 0.5 + torch.rand(N, 2, 3, generator=generator)
    below = torch.randn(N, 2, 3, 3, generator=generator).tril(-1)
    roots = below + torch.diag_embed(diagonal)
    reference = MixtureSameFamily(
        Categorical(logits=log_weights),
        MultivariateNormal(means, precision_matrix=roots.mT @ roots),
    )
    z = torch.randn(10, N, 3, generator=generator)
    density = GaussianMixture(log_weights, means, roots)
    torch.testing.assert_close(density.log_prob(z), reference.log_prob(z), rtol=1e-4, atol=1e-4)
