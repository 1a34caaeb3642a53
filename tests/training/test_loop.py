"""How a network learns: its batches, its loss, its learning rate."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from autolens_ml.training.loop import Learning, TaskData
from autolens_ml.training.task import task_of
from tests.training.small import preset


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("sets")


def data_of(folder, epoch=0, rank=0, **changes):
    """The data as a trainer in that epoch and process sees them."""
    data = TaskData(task_of(preset(**changes)), folder)
    data.trainer = SimpleNamespace(current_epoch=epoch, global_rank=rank)
    data.prepare_data()
    data.setup("fit")
    return data


def assert_equal(first, second):
    for name, value in vars(first).items():
        assert torch.equal(value, getattr(second, name)), name


def test_batches_depend_on_seed_epoch_and_process_alone(folder):
    batches = list(data_of(folder, epoch=1).train_dataloader())
    assert len(batches) == 8 and batches[0].images.shape == (16, 16, 16)
    for batch, again in zip(batches, data_of(folder, 1).train_dataloader(), strict=True):
        assert_equal(batch, again)
    for other in ({"epoch": 0}, {"epoch": 1, "rank": 1}):
        first = next(iter(data_of(folder, **other).train_dataloader()))
        assert not torch.equal(first.images, batches[0].images)
        assert not torch.equal(first.latents, batches[0].latents)


def test_an_epoch_is_the_stretch_between_looks(folder):
    """20 steps with a look after every 8."""
    lengths = [len(data_of(folder, epoch).train_dataloader()) for epoch in (0, 1, 2)]
    assert lengths == [8, 8, 4]


def test_every_validation_lens_is_seen_once(folder):
    data = data_of(folder, training={"batch_size": 24})
    batches = list(data.val_dataloader())
    assert [len(batch.images) for batch in batches] == [24, 24, 16]
    latents = torch.cat([batch.latents for batch in batches])
    expected = data.validation.lenses.latents[:, data.validation.columns]
    np.testing.assert_array_equal(latents, expected)
    later = data_of(folder, epoch=2, rank=1, training={"batch_size": 24})
    for batch, again in zip(batches, later.val_dataloader(), strict=True):
        assert_equal(batch, again)


def rates_of(n, **training):
    """The learning rates of the first n steps."""
    task = task_of(preset(training={"learning_rate": 0.5, **training}))
    configured = Learning(task.network(), task).configure_optimizers()
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(n):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


@pytest.mark.parametrize(("warm_up", "n_warm"), [(0.1, 10), (0.0, 1), (1.0, 100)])
def test_learning_rate(warm_up, n_warm):
    rates = rates_of(101, n_steps=100, warm_up=warm_up)
    assert max(rates) == rates[n_warm - 1] == pytest.approx(0.5)
    np.testing.assert_allclose(rates[:n_warm], 0.5 * np.arange(1, n_warm + 1) / n_warm)
    assert np.all(np.diff(rates[n_warm:]) < 0.0)
    assert n_warm == 100 or rates[100] == pytest.approx(0.0, abs=1e-12)


def test_every_cycle_of_the_learning_rate_is_the_whole_schedule():
    once = rates_of(40, n_steps=40, warm_up=0.1)
    thrice = rates_of(121, n_steps=120, n_cycles=3, warm_up=0.1)
    np.testing.assert_allclose(thrice[:-1], 3 * once)
    assert thrice[-1] == pytest.approx(0.0, abs=1e-12)


def test_learning_rate_of_cycles_that_are_no_whole_steps():
    rates = rates_of(10, n_steps=10, n_cycles=4, warm_up=0.1)
    assert all(0.0 < rate <= 0.5 for rate in rates)


def test_the_loss_is_that_of_the_task(folder):
    data = data_of(folder)
    task = task_of(preset())
    network = task.network()
    module, logged = Learning(network, task), {}
    module.log = lambda name, value, **_: logged.update({name: value})
    batch = next(iter(data.train_dataloader()))
    loss = module.training_step(batch, 0)
    assert loss == logged["loss"] == task.loss(network, batch)
    module.validation_step(batch, 0)
    assert logged["validation_loss"] == loss
