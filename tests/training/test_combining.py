"""Networks for arcs made into one, and stored."""

import json

import numpy as np
import pytest
import torch

from autolens_ml.exceptions import NetworkError, OptionError
from autolens_ml.inference.amortised import load_network
from autolens_ml.networks.architectures import stored_network
from autolens_ml.networks.checkpoint import find_card, load_state, save_network
from autolens_ml.training import combining
from autolens_ml.training.arc_accuracy import measured, task_of_card
from autolens_ml.training.combining import combine
from tests.simulate.models import CAMERA
from tests.stored_networks import card_fields
from tests.stored_networks import untrained as untrained_lens_network
from tests.training.arcs import population, small_arcs, untrained

N = 96


@pytest.fixture(scope="module", autouse=True)
def small():
    with small_arcs():
        yield


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    folder = tmp_path_factory.mktemp("members")
    return [untrained(folder, f"member-{seed}", seed) for seed in range(3)]


@pytest.fixture(scope="module")
def combined(members, tmp_path_factory):
    folder = tmp_path_factory.mktemp("combined")
    return combine([card.path for card in members], "four", folder, n=N, seed=2)


def fit_set(card):
    """The arcs that weights were found from."""
    stream = int(np.random.SeedSequence(2, spawn_key=(combining._STREAM,)).generate_state(1)[0])
    rng = np.random.default_rng(np.random.SeedSequence(2, spawn_key=(combining._STREAM, 1)))
    return task_of_card(card), stream, rng


@torch.no_grad()
def test_a_weighted_sum_is_no_worse_than_its_members(members, combined, tmp_path):
    """On the arcs from which its weights were found; there its widths are right as well."""
    task, stream, rng = fit_set(members[0])
    source = task.source(N, stream, tmp_path, "again", print)
    batches = [source.batch_from(np.arange(i, min(i + 64, N)), rng) for i in range(0, N, 64)]
    latents = torch.cat([batch.latents for batch in batches])

    def errors_of(card):
        network = stored_network(card)
        densities = [network(*batch.inputs) for batch in batches]
        errors = torch.cat([density.mean for density in densities]) - latents
        width = torch.cat([density.variance for density in densities]).sqrt()
        return errors, errors / width

    errors, pulls = errors_of(combined)
    for card in members:
        others, _ = errors_of(card)
        # Stored in half precision.
        assert torch.all(errors.square().mean(0) <= 1.002 * others.square().mean(0))
    inside = (pulls.abs() < 1.0).float().mean(0)
    torch.testing.assert_close(inside, torch.full((5,), 0.683), atol=0.02, rtol=0.0)


def test_the_card_of_an_ensemble(members, combined):
    assert combined == find_card(combined.path)
    assert combined.architecture["class"] == "EnsembleNetwork"
    assert combined.description == "Weighted sum of member-0, member-1, member-2."
    assert combined.n_parameters == sum(card.n_parameters for card in members) + 3 * 5
    assert combined.outputs == members[0].outputs
    assert combined.inputs == members[0].inputs
    assert combined.training["samples"] == N
    for member, card in zip(combined.architecture["config"]["members"], members, strict=True):
        assert member == {
            "name": card.name,
            "sha256": card.sha256,
            "folder": str(card.folder.resolve()),
        }
    # Members stay where they are.
    assert combined.weights.stat().st_size < 10_000


def test_members_by_relative_paths(members, combined, tmp_path, monkeypatch):
    """An ensemble is found from everywhere, whatever the paths it was made of."""
    monkeypatch.chdir(members[0].folder)
    card = combine(["member-0.json", "member-1.json"], "two", tmp_path, weighted=False, n=64)
    monkeypatch.chdir(tmp_path)
    assert len(stored_network(find_card("two.json")).members) == 2
    assert card.description == "Mixture of member-0, member-1."


def test_ensembles_are_measured_and_used_as_any_network(combined):
    metrics = measured(combined, 64, seed=1).card.metrics
    assert metrics["rms_einstein_radius"]["value"] > 0.0
    assert load_network(combined.path).names == tuple(combined.outputs["parameters"])


def test_the_same_seed_gives_the_same_weights(members, combined, tmp_path):
    again = combine([card.path for card in members], "four", tmp_path, n=N, seed=2)
    assert again.sha256 == combined.sha256
    other = combine([card.path for card in members], "four", tmp_path, n=N, seed=3)
    assert other.sha256 != combined.sha256


def test_what_cannot_be_combined(members, tmp_path):
    with pytest.raises(OptionError, match="an ensemble needs two networks or more"):
        combine([members[0].path], "one", tmp_path)
    both = [card.path for card in members[:2]]
    with pytest.raises(OptionError, match="member-1 is a network of the ensemble: give that anot"):
        combine(both, "member-1", tmp_path)
    with pytest.raises(NetworkError, match=r"card.name must be up to 100 letters"):
        combine(both, "no name", tmp_path)
    with pytest.raises(NetworkError, match="no network 'nothing'"):
        combine([members[0].path, "nothing"], "two", tmp_path)
    other = untrained(tmp_path / "other", "other", 1, data={"galaxies": "hubble-deep-field"})
    with pytest.raises(OptionError, match="networks member-0 and other differ in data"):
        combine([members[0].path, other.path], "two", tmp_path)
    prior = json.loads(members[1].path.read_text())
    prior["outputs"]["prior"]["arguments"]["galaxies"]["arguments"]["lens"]["arguments"]["mass"][
        "arguments"
    ]["einstein_radius"]["upper_limit"] = 9.0
    narrow = save_network(tmp_path, {**prior, "name": "narrow"}, load_state(members[1]))
    with pytest.raises(OptionError, match="networks member-0 and narrow differ in prior"):
        combine([members[0].path, narrow.path], "two", tmp_path)
    numbers = [
        untrained(tmp_path / "numbers", f"numbers-{seed}", seed, data={"loss": "flip-invariant"})
        for seed in range(2)
    ]
    with pytest.raises(NetworkError, match="without errors"):
        combine([card.path for card in numbers], "two", tmp_path)
    options = {
        "head": "flow",
        "head_options": {"n_transforms": 1, "n_hidden": 8},
        "backbone_options": {"name": "ensai-6", "width": 0.5, "image_size": 48},
    }
    flow = untrained(tmp_path / "flow", "flow", 1, network=options)
    with pytest.raises(NetworkError, match=r"flow.json: a flow is no mixture of Gaussians"):
        combine([members[0].path, flow.path], "two", tmp_path)
    network = untrained_lens_network(5)
    fields = card_fields(population().model(), network, members[0].outputs["parameters"], CAMERA)
    lens = save_network(tmp_path / "lens", fields, network.state_dict())
    with pytest.raises(NetworkError, match="for lens-parameters, not for arc-parameters"):
        combine([members[0].path, lens.path], "two", tmp_path)
    assert not (tmp_path / "two.json").exists()


def test_a_member_that_was_altered(members, tmp_path):
    cards = [untrained(tmp_path, f"member-{seed}", seed) for seed in range(2)]
    ensemble = combine([card.path for card in cards], "two", tmp_path, n=64)
    untrained(tmp_path, "member-1", 7)
    with pytest.raises(NetworkError, match=r"member-1.json is another network than the ensemble"):
        stored_network(ensemble)
    (tmp_path / "member-1.json").unlink()
    with pytest.raises(NetworkError, match=r"member-1.json: no such file"):
        stored_network(ensemble)
