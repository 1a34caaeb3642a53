"""Sets of stamps and the smallest networks, stored."""

import pytest
import torch

from autolens_ml.networks.checkpoint import save_network
from autolens_ml.networks.shear import ShearNetwork, StampRegressor
from autolens_ml.simulate.shear_files import write_stamps
from autolens_ml.simulate.shear_population import ShearPopulation

POPULATION = ShearPopulation(
    size=16,
    galaxies={"sersic": 1.0},
    psfs={"gaussian": 1.0},
    ellipticity_rms=0.0,
    max_shear=0.4,
    half_light_radius=(0.2, 0.3),
    signal_to_noise=(100.0, 200.0),
)


@pytest.fixture
def data(tmp_path):
    """The data.json of a set of 40 pairs."""
    return write_stamps(POPULATION, 40, tmp_path / "set", noise=True, seed=1)


def store(network, folder, task):
    """Store a network under the name of its folder; returns the folder."""
    save_network(
        folder,
        {
            "name": folder.name,
            "task": task,
            "description": "A network.",
            "instrument": {},
            "bands": [],
            "n_parameters": sum(p.numel() for p in network.parameters()),
            "architecture": {"class": type(network).__name__, "config": network.config},
            "inputs": {},
            "outputs": {},
            "training": {},
            "metrics": {},
        },
        network.state_dict(),
    )
    return folder


@pytest.fixture
def calibrated(tmp_path):
    """The folder of a network with the interface of a calibrated one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = ShearNetwork(
            0.05, size=16, widths=(1, 1, 1, 1), psf_widths=(1, 1, 1, 1), n_hidden=2
        )
    return store(network, tmp_path / "calibrated", "shear")


@pytest.fixture
def naive(tmp_path):
    """The folder of a network that regresses shears and one number more."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = StampRegressor(
            ["g1", "g2", "psf_fwhm"],
            [-0.4, -0.4, 0.1],
            [0.4, 0.4, 0.3],
            size=(16, 16),
            backbone_options={"widths": [8, 8], "depths": [1, 1], "map_size": 2},
        )
    return store(network, tmp_path / "naive", "stamp-regression")
