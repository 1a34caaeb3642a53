"""The network of a Recurrent Inference Machine: its size, its memory, its first steps."""

import pytest
import torch

from autolens_ml.exceptions import OptionError
from autolens_ml.networks.architectures import architecture
from autolens_ml.networks.rim import PUBLISHED, ConvGRU, RecurrentInferenceMachine

SMALL = {"n_inputs": 3, "widths": [4, 6, 8], "input_kernel_size": 3}


def network(**changes):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        found = RecurrentInferenceMachine(**{**SMALL, **changes})
        # As if it had learned something.
        torch.nn.init.normal_(found.last.weight, std=0.1)
        if found.numbers is not None:
            torch.nn.init.normal_(found.numbers.weight, std=0.1)
    return found


def maps(n=2, size=16, n_inputs=3, seed=1):
    return torch.randn(n, n_inputs, size, size, generator=torch.Generator().manual_seed(seed))


def count(**config):
    with torch.device("meta"):
        return sum(p.numel() for p in RecurrentInferenceMachine(**config).parameters())


def test_the_published_network_has_the_published_number_of_parameters():
    """Adam et al. 2023; the network of 128 pixels."""
    assert count(**PUBLISHED) == 348_546_818


def test_small_networks_are_as_small_as_planned():
    assert count(n_inputs=13, widths=[16, 32, 64]) == pytest.approx(0.4e6, rel=0.1)
    assert count(n_inputs=13, widths=[32, 64, 128, 256], input_kernel_size=7) == pytest.approx(
        6.1e6, rel=0.1
    )


def test_before_it_has_learned_a_step_changes_nothing():
    updates, numbers, _ = RecurrentInferenceMachine(**SMALL)(maps())
    assert updates.shape == (2, 2, 16, 16) and numbers.shape == (2, 2)
    assert not updates.any() and not numbers.any()


@pytest.mark.parametrize("patch", [1, 2, 4])
@pytest.mark.parametrize("n_groups", [0, 2])
def test_maps_keep_their_size_and_levels_halve_theirs(patch, n_groups):
    updates, _, hidden = network(patch=patch, n_groups=n_groups, input_kernel_size=5)(maps())
    assert updates.shape == (2, 2, 16, 16)
    assert [tuple(h.shape[1:]) for h in hidden] == [
        (4, 16 // patch, 16 // patch),
        (6, 8 // patch, 8 // patch),
        (8, 4 // patch, 4 // patch),
    ]


def test_a_step_remembers_the_one_before():
    found = network()
    _, _, after_one = found(maps(seed=1))
    _, _, after_other = found(maps(seed=2))
    same = maps(seed=3)
    first, other, none = (found(same, hidden)[0] for hidden in (after_one, after_other, None))
    assert not torch.allclose(first, other, atol=1e-4)
    assert not torch.allclose(first, none, atol=1e-4)


def test_every_parameter_is_learned_from_two_steps():
    found = network(n_convolutions=2)
    updates, numbers, hidden = found(maps())
    updates, numbers, _ = found(maps(seed=2), hidden)
    (updates.square().sum() + numbers.square().sum()).backward()
    for name, parameter in found.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name


def test_lenses_of_a_batch_do_not_see_each_other():
    found = network(n_groups=2)
    both = maps()
    together, alone = found(both)[0], found(both[1:])[0]
    assert torch.allclose(together[1:], alone, atol=1e-5)


def test_a_closed_gate_keeps_a_memory_and_an_open_one_replaces_it():
    unit = ConvGRU(4, 3)
    x, hidden = (
        torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(i)) for i in (1, 2)
    )
    with torch.no_grad():
        for bias, expected in ((-40.0, hidden), (40.0, None)):
            unit.gates.bias[:4] = bias
            found = unit(x, hidden)
            if expected is not None:
                assert torch.allclose(found, expected)
            else:
                assert found.abs().max() <= 1.0 and not torch.allclose(found, hidden)


def test_the_network_is_made_again_from_its_config():
    found = network(patch=2, n_groups=2, activation="tanh", n_convolutions=2)
    again = architecture("RecurrentInferenceMachine")(**found.config)
    again.load_state_dict(found.state_dict())
    assert torch.equal(again(maps())[0], found(maps())[0])


def test_levels_are_counted_from_the_coarsest():
    found = network()
    sizes = [sum(p.numel() for p in found.coarse_parameters(n)) for n in (0, 1, 2)]
    assert sizes[0] < sizes[1] < sizes[2]
    fine = {id(p) for part in (found.first, found.last) for p in part.parameters()}
    every = {id(p) for p in found.parameters()}
    assert {id(p) for p in found.coarse_parameters(2)} == every - fine
    bottleneck = [*found.memories[-1].parameters(), *found.numbers.parameters()]
    assert {id(p) for p in found.coarse_parameters(0)} == {id(p) for p in bottleneck}
    with pytest.raises(OptionError, match="3 levels"):
        found.coarse_parameters(3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_inputs": 0}, "n_inputs must be at least 1"),
        ({"widths": [8]}, "widths must be two or more"),
        ({"kernel_size": 4}, "kernel_size must be odd"),
        ({"patch": 3}, "patch must be a power of 2"),
        ({"patch": 8}, "input_kernel_size must be at least the patch"),
        ({"activation": "gelu"}, "activation must be one of"),
        ({"n_groups": 4}, "must be multiples of 4"),
    ],
)
def test_bad_arguments_are_refused(changes, message):
    with pytest.raises(OptionError, match=message):
        RecurrentInferenceMachine(**{**SMALL, **changes})


@pytest.mark.parametrize("shape", [(2, 4, 16, 16), (2, 3, 18, 16), (3, 16, 16)])
def test_maps_that_do_not_fit_are_refused(shape):
    with pytest.raises(OptionError, match="multiples of 4"):
        network()(torch.zeros(shape))
