"""Averages over flips and turns: densities go with latents, and no orientation is preferred."""

import pytest
import torch

from autolens_ml.exceptions import OptionError
from autolens_ml.networks.heads import GaussianMixture
from autolens_ml.networks.orientations import Orientation, averaged, orbits_of, scale_from
from autolens_ml.networks.posterior import PosteriorNetwork

DIM, SIDE = 4, 16
# Of a point (y, x), of an amplitude that knows no direction, and of one with the sign of a shear.
TURN = Orientation(False, 1, (1, 0, 2, 3), (1, -1, 1, -1))
FLIP = Orientation(True, 0, (0, 1, 2, 3), (-1, 1, 1, 1))


def product(first: Orientation, second: Orientation) -> Orientation:
    """What ``second`` does after ``first``, in the order in which Orientation has them."""
    order = tuple(first.order[i] for i in second.order)
    signs = tuple(second.signs[i] * first.signs[j] for i, j in enumerate(second.order))
    return Orientation(first.flip or second.flip, first.turns + second.turns, order, signs)


def group() -> list[Orientation]:
    identity = Orientation(False, 0, (0, 1, 2, 3), (1, 1, 1, 1))
    found = [identity]
    for _ in range(3):
        found.append(product(found[-1], TURN))
    flipped = [FLIP]
    for _ in range(3):
        flipped.append(product(flipped[-1], TURN))
    return found + flipped


GROUP = group()


def mixture_of(n=5, k=3, seed=1) -> GaussianMixture:
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(n, k, generator=generator).log_softmax(-1)
    means = torch.randn(n, k, DIM, generator=generator)
    roots = torch.randn(n, k, DIM, DIM, generator=generator).tril(-1)
    roots += torch.diag_embed(1.0 + 3.0 * torch.rand(n, k, DIM, generator=generator))
    return GaussianMixture(weights, means, roots)


def latents(n=5, seed=2) -> torch.Tensor:
    return torch.randn(n, DIM, generator=torch.Generator().manual_seed(seed))


def turned(z: torch.Tensor, orientation: Orientation) -> torch.Tensor:
    return torch.tensor(orientation.signs) * z[..., list(orientation.order)]


@pytest.mark.parametrize("orientation", GROUP)
def test_densities_go_with_latents(orientation):
    density, z = mixture_of(), latents()
    back = orientation.density_from(density)
    torch.testing.assert_close(back.log_prob(z), density.log_prob(turned(z, orientation)))
    # Draws and moments need the roots in their form.
    assert torch.equal(back.roots, back.roots.tril())
    assert (torch.diagonal(back.roots, dim1=-2, dim2=-1) > 0.0).all()
    torch.testing.assert_close(turned(back.mean, orientation), density.mean)
    order = list(orientation.order)
    torch.testing.assert_close(back.variance[:, order], density.variance, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("orientation", GROUP)
def test_images_are_flipped_then_turned(orientation):
    """A bright pixel moves as the latents of its place do."""
    y, x = 3, -5
    image = torch.zeros(1, 21, 21)
    image[0, 10 - y, 10 + x] = 1.0
    row, column = divmod(int(orientation.image_from(image).argmax()), 21)
    moved = turned(torch.tensor([float(y), float(x), 0.0, 0.0]), orientation)
    assert (10 - row, column - 10) == (moved[0], moved[1])


def test_orientations_from_matrices():
    matrix = [[0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, -1]]
    assert Orientation.from_matrix(False, 1, matrix) == TURN
    assert Orientation(**TURN.as_dict()) == TURN
    assert [o.is_identity for o in (GROUP[0], TURN, FLIP)] == [True, False, False]


def test_what_turns_into_one_another():
    assert orbits_of(GROUP) == [[0, 1], [0, 1], [2], [3]]
    assert orbits_of([GROUP[0], FLIP]) == [[0], [1], [2], [3]]


def test_averages_are_about_the_mean_of_the_means():
    first, second = mixture_of(seed=1), mixture_of(seed=3)
    both = averaged([first, second], torch.ones(DIM))
    mean = 0.5 * (first.mean + second.mean)
    torch.testing.assert_close(both.mean, mean)
    # What lies between the orientations is no width.
    torch.testing.assert_close(both.variance, 0.5 * (first.variance + second.variance))
    scale = torch.tensor([0.5, 1.0, 2.0, 0.1])
    narrowed = averaged([first, second], scale)
    torch.testing.assert_close(narrowed.mean, mean)
    torch.testing.assert_close(narrowed.variance, scale**2 * both.variance)
    alone = averaged([first], torch.ones(DIM))
    torch.testing.assert_close(alone.log_prob(latents()), first.log_prob(latents()))


def test_scales_make_intervals_hold_what_they_say():
    """Gaussians of width one about means that are off by more, and by less, of skewed draws too."""
    n = 20_000
    generator = torch.Generator().manual_seed(4)
    true_widths = torch.tensor([0.5, 0.5, 2.0, 1.0])
    truths = torch.randn(n, DIM, generator=generator)
    mean = truths + true_widths * torch.randn(n, DIM, generator=generator)
    draws = mean + torch.randn(400, n, DIM, generator=generator)
    scale = scale_from(draws, mean, truths, orbits_of(GROUP), level=0.683)
    torch.testing.assert_close(scale, true_widths, rtol=0.05, atol=0.0)
    assert scale[0] == scale[1]
    # Whatever the shape of the draws.
    skewed = torch.distributions.Exponential(1.0).sample((400, n, DIM)) - 1.0
    draws = mean + skewed
    scale = scale_from(draws, mean, truths, orbits_of(GROUP), level=0.683)
    low, high = torch.quantile(skewed.flatten()[:100_000], torch.tensor([0.1585, 0.8415]))
    inside = (truths > mean + scale * low) & (truths < mean + scale * high)
    assert inside.float().mean(0).numpy() == pytest.approx(0.683, abs=0.02)


def test_scales_of_many_latents_and_lenses():
    """As many numbers as the validation set of a large model has."""
    n_draws, n, dim = 200, 2000, 45
    draws = torch.randn(n_draws, n, dim, generator=torch.Generator().manual_seed(6))
    truths = torch.randn(n, dim, generator=torch.Generator().manual_seed(7))
    orbits = [[i] for i in range(dim)]
    scale = scale_from(draws, torch.zeros(n, dim), truths, orbits, level=0.683)
    torch.testing.assert_close(scale, torch.ones(dim), rtol=0.15, atol=0.0)


# In a network.


def network_of(orientations=GROUP, head="mixture", **changes) -> PosteriorNetwork:
    torch.manual_seed(1)
    small = {"widths": [8, 16], "depths": [1, 1], "n_features": 16, "map_size": 2}
    options = {"n_components": 2} if head == "mixture" else {}
    network = PosteriorNetwork(
        DIM, head, small, options, orientations=[o.as_dict() for o in orientations], **changes
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return network.eval()


def inputs(n=6, seed=5):
    generator = torch.Generator().manual_seed(seed)
    images = 10.0 * torch.rand(n, SIDE, SIDE, generator=generator)
    mask = (torch.rand(images.shape, generator=generator) > 0.2).float()
    return images, (1.0 + images).sqrt(), mask, torch.full((n,), 2.0)


@pytest.fixture
def learned():
    network = network_of()
    batches = [(inputs(64, seed), latents(64, seed)) for seed in (1, 2)]
    network.learn_orientations(batches)
    return network


@pytest.mark.parametrize("orientation", GROUP)
@torch.no_grad()
def test_no_orientation_is_preferred(learned, orientation):
    given, z = inputs(), latents(6)
    *maps, width = given
    seen = [orientation.image_from(values) for values in maps]
    here = learned(*given).log_prob(z)
    torch.testing.assert_close(
        learned(*seen, width).log_prob(turned(z, orientation)), here, rtol=1e-3, atol=1e-3
    )
    plain = network_of([])
    if not orientation.is_identity:
        there = plain(*seen, width).log_prob(turned(z, orientation))
        assert not torch.allclose(there, plain(*given).log_prob(z), rtol=1e-2)


@torch.no_grad()
def test_nothing_is_averaged_before_it_is_learned_or_in_training(learned):
    given, z = inputs(), latents(6)
    expected = network_of([])(*given).log_prob(z)
    torch.testing.assert_close(network_of()(*given).log_prob(z), expected)
    torch.testing.assert_close(learned.train()(*given).log_prob(z), expected)
    assert not torch.allclose(learned.eval()(*given).log_prob(z), expected, rtol=1e-2)
    # Features are those of the image as it is.
    torch.testing.assert_close(learned.features(*given), network_of([]).features(*given))


@torch.no_grad()
def test_widths_are_calibrated(learned):
    held = torch.cat([latents(64, seed) for seed in (1, 2)])
    densities = [learned(*inputs(64, seed)) for seed in (1, 2)]
    draws = torch.cat([d.sample(500, torch.Generator().manual_seed(7)) for d in densities], dim=1)
    ranks = (draws < held).float().mean(0)
    inside = ((ranks - 0.5).abs() <= 0.5 * 0.683).float().mean()
    assert inside == pytest.approx(0.683, abs=0.06)


@torch.no_grad()
def test_config_and_weights_make_it_again(learned):
    again = PosteriorNetwork(**learned.config)
    again.load_state_dict(learned.state_dict())
    given, z = inputs(), latents(6)
    assert torch.equal(again.eval()(*given).log_prob(z), learned(*given).log_prob(z))


@pytest.mark.parametrize(
    ("orientations", "head", "match"),
    [
        (GROUP, "flow", "a flow cannot be averaged"),
        (GROUP[1:], "mixture", "must begin with the identity"),
    ],
)
def test_networks_that_cannot_be_averaged(orientations, head, match):
    with pytest.raises(OptionError, match=match):
        network_of(orientations, head)


@pytest.mark.parametrize(
    ("order", "signs"), [((0, 0), (1, 1)), ((0, 1), (1, 0)), ((0, 1), (1, -1, 1))]
)
def test_what_is_no_orientation(order, signs):
    with pytest.raises(OptionError, match="order must be a permutation and signs 1 or -1"):
        Orientation(False, 0, order, signs)
