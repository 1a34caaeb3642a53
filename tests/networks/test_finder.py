"""Networks that find lenses."""

import pytest
import torch

from autolens_ml.exceptions import OptionError
from autolens_ml.networks.finder import OU66, OU200, DihedralFinder

SMALL = {"side": 24, "crop": 20, "widths": (4, 8), "n_hidden": 8}
NETWORKS = {
    "OU66": (OU66, {}, 66),
    "OU200": (OU200, {}, 200),
    "DihedralFinder": (DihedralFinder, SMALL, 24),
    "DihedralFinder, stride 1": (DihedralFinder, {**SMALL, "stride": 1}, 24),
}


def network(name, n_bands=2, **options):
    cls, own, side = NETWORKS[name]
    torch.manual_seed(0)
    made = cls(n_bands=n_bands, **own, **options).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    return made, torch.randn(3, n_bands, side, side)


@pytest.mark.parametrize(
    ("cls", "n_bands", "number"),
    [(OU66, 4, 203_192), (OU66, 1, 201_842), (OU200, 4, 331_632), (OU200, 1, 327_882)],
)
def test_numbers_of_parameters_are_those_of_the_paper(cls, n_bands, number):
    assert sum(p.numel() for p in cls(n_bands).parameters()) == number
    # Three bands lie between: 50 kernels of 3 x 3 or 5 x 5 for each.
    per_band = (cls(4).layer[0].weight.numel()) // 4
    assert (
        sum(p.numel() for p in cls(3).parameters())
        == {
            OU66: 203_192 - per_band,
            OU200: 331_632 - per_band,
        }[cls]
    )


@pytest.mark.parametrize(
    ("cls", "sides"),
    [
        (OU66, [64, 32, 30, 28, 26, 24, 12, 10, 8, 6, 4, 2]),
        (OU200, [196, 98, 94, 47, 45, 22, 20, 10, 8, 6]),
    ],
)
def test_maps_have_the_sides_of_the_paper(cls, sides):
    made = cls(1)
    x, seen = torch.randn(1, 1, made.side, made.side), []
    for module in made.layer:
        x = module(x)
        if isinstance(module, torch.nn.Conv2d | torch.nn.MaxPool2d):
            seen.append(x.shape[-1])
    assert seen == sides
    dropouts = [m.p for m in made.layer if isinstance(m, torch.nn.Dropout)]
    assert set(dropouts) == {0.2} and len(dropouts) == sum(
        isinstance(m, torch.nn.Conv2d) for m in made.layer
    )


def test_layers_are_called_as_in_the_published_code():
    names = set(OU66(4).state_dict())
    # Layers with weights of the published networks, of J, Y, H, JYH and OU-66.
    assert {f"layer.{i}.weight" for i in (0, 4, 7, 10, 13, 17, 20, 23, 26)} <= names
    assert {"fc_layer.0.weight", "fc_layer.2.bias", "temperature"} <= names
    assert {f"layer.{i}.bias" for i in (0, 4, 8, 12, 16, 19)} <= set(OU200(1).state_dict())


def test_the_maximum_may_come_before_relu():
    x = torch.randn(2, 3, 8, 8)
    relu, pool = torch.nn.ReLU(), torch.nn.MaxPool2d(2)
    assert torch.equal(relu(pool(x)), pool(relu(x)))


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_and_probabilities(name):
    made, images = network(name)
    logits, probabilities = made(images), made.probabilities(images)
    assert logits.shape == (3, 2) and probabilities.shape == (3,)
    # Over the classes of each image, not over the batch.
    torch.testing.assert_close(probabilities, logits.softmax(1)[:, 1])
    alone = torch.cat([made.probabilities(images[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(alone, probabilities, atol=1e-5, rtol=1e-4)
    made.temperature.fill_(2.0)
    torch.testing.assert_close(made.probabilities(images), (logits / 2.0).softmax(1)[:, 1])


def test_many_images_are_looked_at_in_pieces(monkeypatch):
    made, _ = network("OU66")
    images = torch.randn(40, made.n_bands, made.side, made.side)
    looked, forward = [], made.forward
    monkeypatch.setattr(made, "forward", lambda piece: looked.append(len(piece)) or forward(piece))
    with torch.no_grad():
        probabilities = made.probabilities(images)
        torch.testing.assert_close(probabilities, forward(images).softmax(1)[:, 1])
        assert made.probabilities(images[:0]).shape == (0,)
    assert sum(looked) == 40 and max(looked) < 40


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_made_again_by_its_config(name):
    made, images = network(name)
    again = type(made)(**made.config)
    again.load_state_dict(made.state_dict())
    assert torch.equal(again.eval()(images), made(images))


@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_learns(name):
    made, images = network(name)
    torch.nn.functional.cross_entropy(made(images), torch.tensor([0, 1, 1])).backward()
    for key, parameter in made.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.any(), key


@pytest.mark.parametrize("normalisation", ["noise", "min-max"])
def test_units_and_background_do_not_matter(normalisation):
    made, images = network("OU66", normalisation=normalisation)
    units = torch.tensor([1e-6, 40.0])[:, None, None]
    other = units.double() * (images + torch.tensor([3.0, -20.0])[:, None, None])
    torch.testing.assert_close(made(other), made(images), atol=1e-3, rtol=1e-3)


def test_normalisation_by_noise_is_in_units_of_it():
    made, _ = network("OU66", n_bands=1)
    generator = torch.Generator().manual_seed(0)
    sky = 5.0 + 2.0 * torch.randn(1, 1, 66, 66, generator=generator)
    sky[..., 33, 33] = 5.0 + 2.0 * 300.0
    seen = made.normalised(sky)[0, 0]
    assert seen[33, 33] == pytest.approx(torch.asinh(torch.tensor(100.0)).item(), rel=0.02)
    rest = torch.sinh(seen[:20]) * 3.0
    assert rest.std() == pytest.approx(1.0, rel=0.05) and abs(rest.mean()) < 0.1


def test_normalisation_by_extremes_is_that_of_the_paper():
    made, images = network("OU66", normalisation="min-max")
    seen = made.normalised(images)
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    torch.testing.assert_close(seen, (images - low) / (high - low))


@pytest.mark.parametrize("normalisation", ["noise", "min-max"])
def test_pixels_without_data_are_zero_and_change_nothing_else(normalisation):
    made, images = network("OU66", normalisation=normalisation)
    holed = images.clone()
    holed[..., :9] = torch.nan
    seen = made.normalised(holed)
    assert torch.all(seen[..., :9] == 0.0) and seen.isfinite().all()
    padded = torch.full_like(images, torch.nan)
    padded[..., 9:] = images[..., 9:]
    assert torch.equal(made.normalised(padded), seen)
    # Nothing but what is not there, and a sky without noise.
    for blank in (torch.full_like(images, torch.nan), torch.ones_like(images)):
        assert made(blank).isfinite().all()


@pytest.mark.parametrize("name", ["DihedralFinder", "DihedralFinder, stride 1"])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_orientation_does_not_matter(name, flip, turns):
    made, images = network(name)
    turned = torch.rot90(images.flip(-1) if flip else images, turns, (-2, -1))
    torch.testing.assert_close(made(turned), made(images), atol=1e-5, rtol=1e-4)


def test_orientation_matters_to_the_others():
    made, images = network("OU66")
    assert not torch.allclose(made(torch.rot90(images, 1, (-2, -1))), made(images), atol=1e-3)


def test_the_distance_from_the_middle_matters():
    made, _ = network("DihedralFinder", n_bands=1)
    image = 0.1 * torch.randn(1, 1, 24, 24)
    middle, off = image.clone(), image.clone()
    middle[..., 12, 12] += 50.0
    off[..., 4, 12] += 50.0
    assert not torch.allclose(made(middle), made(off), atol=1e-3)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: OU66(0), "n_bands"),
        (lambda: OU66(1, normalisation="none"), "choose noise or min-max"),
        (lambda: DihedralFinder(1, side=24, crop=30), "crop"),
        (lambda: DihedralFinder(1, side=24, crop=19), "crop"),
        (lambda: DihedralFinder(1, side=24, crop=20, stride=3), "stride"),
        (lambda: DihedralFinder(1, side=24, crop=20, widths=(4, 6)), "multiples of 4"),
        (lambda: DihedralFinder(1, side=24, crop=20, widths=()), "multiples of 4"),
        (lambda: DihedralFinder(0), "n_bands"),
        (lambda: OU66(2)(torch.zeros(1, 1, 66, 66)), r"takes \(n, 2, 66, 66\)"),
        (lambda: OU200(1)(torch.zeros(1, 1, 66, 66)), r"takes \(n, 1, 200, 200\)"),
        (lambda: OU66(1)(torch.zeros(1, 66, 66)), "of shape"),
    ],
)
def test_bad_arguments_are_refused(make, words):
    with pytest.raises(OptionError, match=words):
        make()
