"""Heads: invariants of conditional densities, over the whole family."""

import math

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal, Normal

from autolens_ml.networks.heads import FlowHead, GaussianMixture, MixtureHead, MomentsHead

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


def mixture(n_components: int = 3, dim: int = 3, seed: int = 0) -> GaussianMixture:
    """Components that differ in weight, place, width and correlation."""
    generator = seeded(seed)
    log_weights = torch.randn(N, n_components, generator=generator).log_softmax(-1)
    means = torch.randn(N, n_components, dim, generator=generator)
    below = torch.randn(N, n_components, dim, dim, generator=generator).tril(-1)
    diagonal = 0.5 + torch.rand(N, n_components, dim, generator=generator)
    return GaussianMixture(log_weights, means, below + torch.diag_embed(diagonal))


@pytest.mark.parametrize("n_components", [1, 3])
def test_moments_are_those_of_the_draws(n_components):
    density, n = mixture(n_components), 40_000
    draws = density.sample(n, seeded()).double()
    error = (draws.std(0) / n**0.5).clamp(min=1e-12)
    assert ((draws.mean(0) - density.mean) / error).abs().max() < 4.5
    squares = (draws - draws.mean(0)).square()
    error = squares.std(0) / n**0.5
    assert ((squares.mean(0) - density.variance) / error).abs().max() < 4.5


def test_variances_of_one_component():
    density = mixture(1)
    covariance = torch.linalg.inv(density.roots[:, 0].mT @ density.roots[:, 0])
    expected = torch.diagonal(covariance, dim1=-2, dim2=-1)
    torch.testing.assert_close(density.variance, expected, rtol=1e-4, atol=1e-5)
    doubled = GaussianMixture(density.log_weights, density.means.double(), density.roots.double())
    torch.testing.assert_close(doubled.variance.float(), density.variance, rtol=1e-4, atol=1e-5)


def test_a_mixture_of_mixtures():
    parts = [mixture(1, seed=1), mixture(3, seed=2)]
    joined, z = GaussianMixture.of(parts), torch.randn(6, N, 3, generator=seeded())
    expected = torch.stack([part.log_prob(z).exp() for part in parts]).mean(0)
    torch.testing.assert_close(joined.log_prob(z).exp(), expected)
    torch.testing.assert_close(joined.log_weights.exp().sum(-1), torch.ones(N))
    torch.testing.assert_close(GaussianMixture.of(parts[1:]).log_prob(z), parts[1].log_prob(z))


def test_moments_head_is_a_gaussian_without_correlations():
    """Features are means and log variances, and nothing is learned."""
    dim = 4
    given = torch.randn(N, 2 * dim, generator=seeded())
    head = MomentsHead(2 * dim, dim)
    density, z = head(given), torch.randn(7, N, dim, generator=seeded(1))
    reference = Normal(given[:, :dim], (0.5 * given[:, dim:]).exp())
    torch.testing.assert_close(density.log_prob(z), reference.log_prob(z).sum(-1))
    torch.testing.assert_close(density.mean, given[:, :dim])
    torch.testing.assert_close(density.variance, given[:, dim:].exp())
    assert not list(head.parameters()) and not head.state_dict()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(head(given).log_prob(z), density.log_prob(z))
    learning = given.requires_grad_()
    head(learning).log_prob(z).sum().backward()
    assert learning.grad.isfinite().all() and learning.grad.all()


def test_moments_stay_within_bounds():
    """Widths between 1/3000 and 55 of the prior's, as those of mixtures."""
    features = torch.tensor([[0.0, 0.0, -1e3, 1e3]])
    density = MomentsHead(4, 2)(features)
    torch.testing.assert_close(
        density.variance.sqrt(), torch.tensor([[math.exp(-8.0), math.exp(4.0)]])
    )
    assert density.log_prob(torch.full((1, 2), 50.0)).isfinite().all()
    with pytest.raises(ValueError, match="5 features are not means and variances of 2 latents"):
        MomentsHead(5, 2)
