"""Several networks as one: mixtures and weighted sums of densities."""

import json

import autofit as af
import autolens as al
import pytest
import torch

from autolens_ml.exceptions import NetworkError, OptionError
from autolens_ml.networks.architectures import stored_network
from autolens_ml.networks.checkpoint import save_network
from autolens_ml.networks.ensemble import EnsembleNetwork
from autolens_ml.networks.posterior import PosteriorNetwork
from tests.stored_networks import card_fields

DIM, SIDE, N_MEMBERS = 3, 16, 3
NAMES = [f"galaxies.lens.mass.{n}" for n in ("centre.centre_0", "centre.centre_1", "radius")]


def network_of(seed: int, head: str = "mixture") -> PosteriorNetwork:
    """With weights as after training, so that every image has a posterior of its own."""
    small = {"widths": [8, 8], "depths": [1, 1], "n_features": 16, "map_size": 2}
    options = {"n_transforms": 1, "n_hidden": 8} if head == "flow" else {"n_components": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = PosteriorNetwork(DIM, head, small, options)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter += 0.2 * torch.randn_like(parameter)
    return network.eval()


def stored(folder, name: str, network: torch.nn.Module):
    model = af.Collection(galaxies=af.Collection(lens=af.Model(al.mp.IsothermalSph)))
    fields = card_fields(model, network, NAMES, name=name)
    return save_network(folder, fields, network.state_dict(), dtype="float32")


@pytest.fixture(scope="module")
def members(tmp_path_factory) -> list[dict[str, str]]:
    folder = tmp_path_factory.mktemp("members")
    cards = [stored(folder, f"member-{seed}", network_of(seed)) for seed in range(N_MEMBERS)]
    return [
        {"name": card.name, "sha256": card.sha256, "folder": str(card.folder)} for card in cards
    ]


def inputs(n: int, seed: int = 1) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    images = 5.0 * torch.randn(n, SIDE, SIDE, generator=generator)
    ones = torch.ones_like(images)
    return images, ones, ones, 1.0 + torch.rand(n, generator=generator)


@torch.no_grad()
def test_a_deep_ensemble_is_the_equal_mixture(members):
    ensemble = EnsembleNetwork(members, DIM).eval()
    given, z = inputs(5), torch.randn(7, 5, DIM, generator=torch.Generator().manual_seed(2))
    densities = [network_of(seed)(*given) for seed in range(N_MEMBERS)]
    expected = torch.stack([density.log_prob(z).exp() for density in densities]).mean(0)
    torch.testing.assert_close(ensemble(*given).log_prob(z).exp(), expected)
    mean = torch.stack([density.mean for density in densities]).mean(0)
    torch.testing.assert_close(ensemble(*given).mean, mean)
    # The scatter of the means adds to the mean of the variances.
    variance = torch.stack([d.variance + (d.mean - mean).square() for d in densities]).mean(0)
    torch.testing.assert_close(ensemble(*given).variance, variance)
    assert not list(ensemble.parameters())


@torch.no_grad()
@pytest.mark.parametrize("weighted", [False, True])
def test_features_are_the_means_of_the_members(members, weighted):
    ensemble = EnsembleNetwork(members, DIM, weighted).eval()
    features, density = ensemble.features_and_densities(*inputs(5))
    expected = [network_of(seed)(*inputs(5)).mean for seed in range(N_MEMBERS)]
    torch.testing.assert_close(features, torch.cat(expected, dim=1))
    torch.testing.assert_close(density.mean, ensemble(*inputs(5)).mean)


def batches_of(latents: torch.Tensor, seed: int = 1):
    """Two batches of images with true latents."""
    images = inputs(len(latents), seed)
    half = len(latents) // 2
    return [
        (tuple(part[rows] for part in images), latents[rows])
        for rows in (slice(None, half), slice(half, None))
    ]


@torch.no_grad()
def means_of(n: int) -> torch.Tensor:
    """Of all members, shape (members, n, d)."""
    return torch.stack([network_of(seed)(*inputs(n)).mean for seed in range(N_MEMBERS)])


@pytest.fixture(scope="module")
def weighted(members):
    """Truths are sums of the members' means, with weights and scatter of every latent's own."""
    n = 600
    weights = torch.tensor([[0.7, 0.2, 0.5], [0.3, 0.0, 0.5], [0.1, 0.9, -0.2]])
    scatter = torch.tensor([0.01, 0.03, 0.1])
    noise = torch.randn(n, DIM, generator=torch.Generator().manual_seed(3))
    latents = torch.einsum("knd,kd->nd", means_of(n), weights) + scatter * noise
    ensemble = EnsembleNetwork(members, DIM, weighted=True).eval()
    ensemble.learn(batch for batch in batches_of(latents))
    return ensemble, latents, weights, scatter


@torch.no_grad()
def test_weights_are_found(weighted):
    ensemble, latents, weights, _ = weighted
    torch.testing.assert_close(ensemble.combination.weights, weights, atol=0.05, rtol=0.0)
    assert ensemble.combination.weights.numel() == N_MEMBERS * DIM
    mean = ensemble(*inputs(len(latents))).mean
    expected = torch.einsum("knd,kd->nd", means_of(len(latents)), ensemble.combination.weights)
    torch.testing.assert_close(mean, expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_weighted_sum_beats_its_members(weighted):
    ensemble, latents, _, scatter = weighted

    def rms(mean):
        return (mean - latents).square().mean(0).sqrt()

    combined, means = rms(ensemble(*inputs(len(latents))).mean), means_of(len(latents))
    for mean in (*means, means.mean(0)):
        assert torch.all(combined < rms(mean))
    torch.testing.assert_close(combined, scatter, rtol=0.1, atol=0.0)


@torch.no_grad()
def test_widths_are_calibrated(weighted):
    """One Gaussian, which holds 68.3 per cent of the truths of each latent within its width."""
    ensemble, latents, _, _ = weighted
    density = ensemble(*inputs(len(latents)))
    assert density.means.shape == (len(latents), 1, DIM)
    pulls = (latents - density.mean) / density.variance.sqrt()
    inside = (pulls.abs() < 1.0).float().mean(0)
    torch.testing.assert_close(inside, torch.full((DIM,), 0.683), atol=0.005, rtol=0.0)
    # What is not certain to the members is not certain to their sum.
    variance = torch.stack(
        [network_of(seed)(*inputs(len(latents))).variance for seed in range(N_MEMBERS)]
    )
    ratio = density.variance / variance.mean(0)
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio), rtol=1e-3, atol=0.0)


@torch.no_grad()
@pytest.mark.parametrize("is_weighted", [False, True])
def test_unusual_answers_are_known(members, is_weighted):
    ensemble = EnsembleNetwork(members, DIM, is_weighted).eval()
    assert float(ensemble.typical_distance) > 1e4
    ensemble.learn(batches_of(torch.randn(200, DIM)))
    features, _ = ensemble.features_and_densities(*inputs(100, seed=9))
    assert (ensemble.distances(features) < ensemble.typical_distance).float().mean() > 0.95
    # One member says what it never said.
    features[:, 0] += 20.0 * features[:, 0].std()
    assert torch.all(ensemble.distances(features) > ensemble.typical_distance)


@torch.no_grad()
def test_learning_again_forgets(weighted, members):
    ensemble, latents, _, _ = weighted
    twice = EnsembleNetwork(members, DIM, weighted=True).eval()
    for truths in (5.0 * latents + 1.0, latents):
        twice.learn(batches_of(truths))
    for name, value in ensemble.state_dict().items():
        torch.testing.assert_close(twice.state_dict()[name], value, msg=name)


@torch.no_grad()
def test_config_and_weights_are_the_network(weighted, tmp_path):
    """Its own weights alone are stored; those of its members stay in their files."""
    ensemble, *_ = weighted
    assert set(ensemble.state_dict()) == {
        *("combination.weights", "scale"),
        *("feature_mean", "feature_whitener", "typical_distance"),
    }
    json.dumps(ensemble.config)
    card = stored(tmp_path, "ensemble", ensemble)
    again = stored_network(card)
    assert isinstance(again, EnsembleNetwork) and not again.training
    z = torch.zeros(5, DIM)
    assert torch.equal(again(*inputs(5)).log_prob(z), ensemble(*inputs(5)).log_prob(z))


def test_members_do_not_learn(members):
    ensemble = EnsembleNetwork(members, DIM, weighted=True).train()
    assert [name for name, _ in ensemble.named_parameters()] == ["combination.weights"]
    for member in ensemble.members:
        assert not member.training
        assert not any(parameter.requires_grad for parameter in member.parameters())


def test_members_that_are_not_what_they_were(members, tmp_path):
    with pytest.raises(OptionError, match="an ensemble needs networks: give at least one"):
        EnsembleNetwork([], DIM)
    altered = {**members[0], "sha256": "0" * 64}
    with pytest.raises(NetworkError, match=r"member-0.json is another network than the ensemble"):
        EnsembleNetwork([altered, members[1]], DIM)
    with pytest.raises(NetworkError, match="no such file"):
        EnsembleNetwork([{**members[0], "folder": str(tmp_path)}], DIM)
    with pytest.raises(NetworkError, match="no network 'member-0'"):
        EnsembleNetwork([{"name": "member-0", "sha256": members[0]["sha256"]}], DIM)
    # The weights alone, behind the back of the card.
    card = stored(tmp_path, "member-0", network_of(0))
    card.weights.write_bytes(card.weights.read_bytes()[:-1] + b"\0")
    with pytest.raises(NetworkError, match=r"not the weights that member-0.json was written for"):
        EnsembleNetwork([{**members[0], "folder": str(tmp_path)}], DIM)


def test_flows_have_no_moments(tmp_path):
    card = stored(tmp_path, "flow", network_of(1, "flow"))
    member = {"name": "flow", "sha256": card.sha256, "folder": str(tmp_path)}
    with pytest.raises(NetworkError, match=r"flow.json: a flow is no mixture of Gaussians: leave"):
        EnsembleNetwork([member], DIM)
