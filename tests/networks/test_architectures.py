"""Stored networks, made again from their cards."""

import autofit as af
import autolens as al
import pytest
import torch

from autolens_ml.exceptions import NetworkError
from autolens_ml.networks.architectures import (
    ARCHITECTURES,
    architecture,
    kept_network,
    stored_network,
)
from autolens_ml.networks.checkpoint import Card, find_card, save_network
from tests.stored_networks import card_fields, untrained

MODEL = af.Collection(galaxies=af.Collection(lens=af.Model(al.mp.IsothermalSph)))
NAME = "galaxies.lens.mass.einstein_radius"


@pytest.fixture
def card(tmp_path) -> Card:
    network = untrained(1)
    return save_network(
        tmp_path, card_fields(MODEL, network, [NAME]), network.state_dict(), dtype="float32"
    )


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_class_is_a_module(name):
    cls = architecture(name)
    assert issubclass(cls, torch.nn.Module)
    assert cls.__name__ == name and cls.__module__ == ARCHITECTURES[name]


def test_unknown_classes(card):
    with pytest.raises(NetworkError, match=r"no network class 'Sequential', only .*: update autol"):
        architecture("Sequential")
    with pytest.raises(NetworkError, match="no network class 'Sequential'"):
        stored_network(changed(card, {"class": "Sequential", "config": {}}))


def changed(card: Card, architecture: dict) -> Card:
    return Card.from_dict({**card.as_dict(), "architecture": architecture}, card.folder)


@torch.no_grad()
def test_the_network_of_a_card(card):
    network, expected = stored_network(card), untrained(1).eval()
    assert not network.training
    for name, value in expected.state_dict().items():
        assert torch.equal(network.state_dict()[name], value), name


@torch.no_grad()
def test_a_network_is_kept_until_it_is_trained_again(card):
    network = kept_network(card)
    assert kept_network(find_card(card.path)) is network
    other = untrained(1)
    other.head.outputs.bias += 1.0
    fields = card_fields(MODEL, other, [NAME])
    again = save_network(card.folder, fields, other.state_dict(), dtype="float32")
    assert torch.equal(kept_network(again).head.outputs.bias, other.head.outputs.bias)


@pytest.mark.parametrize(
    "architecture",
    [
        {},
        {"class": "PosteriorNetwork"},
        {"class": "PosteriorNetwork", "config": {}},
        {"class": "PosteriorNetwork", "config": [1, 2]},
        {"class": "PosteriorNetwork", "config": {"dim": 2}},
        {"class": "PosteriorNetwork", "config": {"dim": "two"}},
        {"class": "PosteriorNetwork", "config": {"dim": 1, "head": "none"}},
        {"class": "PosteriorNetwork", "config": {"dim": 1, "backbone_options": "none"}},
        {"class": "PosteriorNetwork", "config": {"dim": 1, "backbone_options": {"widths": [7]}}},
        {"class": "EnsembleNetwork", "config": {"members": [], "dim": 1}},
        {"class": "EnsembleNetwork", "config": {"members": ["known"], "dim": 1}},
        {"class": "EnsembleNetwork", "config": {"members": 3, "dim": 1}},
    ],
)
def test_cards_that_do_not_fit_their_weights(card, architecture):
    with pytest.raises(NetworkError, match="do not fit the architecture of their card") as raised:
        stored_network(changed(card, architecture))
    assert "\n" not in str(raised.value)
