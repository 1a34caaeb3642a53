"""A small lens, and a small network, for tests of reconstructions."""

from __future__ import annotations

import numpy as np
import torch

from autolens_ml.inference.reconstruction.loop import (
    Latents,
    Loop,
    LoopOptions,
    Observed,
    gaussian_psfs,
)
from autolens_ml.inference.reconstruction.loss import Maps
from autolens_ml.networks.checkpoint import Card, save_network
from autolens_ml.networks.rim import RecurrentInferenceMachine

SIZE = 24
OPTIONS = LoopOptions(
    shape=(SIZE, SIZE),
    pixel_scale=0.15,
    source_shape=(SIZE, SIZE),
    source_pixel_scale=0.08,
    over_sampling=1,
    n_steps=3,
    start_radius=0.8,
)
NETWORK = {"widths": [8, 8], "patch": 2, "n_groups": 4}


def network(options=OPTIONS, trained=0.05):
    """One that does something, the same every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        found = RecurrentInferenceMachine(n_inputs=options.n_inputs, **NETWORK)
        torch.nn.init.normal_(found.last.weight, std=trained)
        torch.nn.init.normal_(found.numbers.weight, std=trained)
    return found.eval()


def true_maps(n=1, size=SIZE):
    """Isothermal ellipsoids, more or less, and Gaussian sources off their axes."""
    y, x = np.mgrid[:size, :size] - 0.5 * (size - 1)
    y = -y
    radius = 0.15 * np.sqrt(x**2 + (y / 0.8) ** 2 + 0.3)
    kappa = np.stack([np.log10((0.4 + 0.02 * i) / radius) for i in range(n)])
    source = np.stack(
        [np.exp(-0.5 * ((x - 2 - i % 3) ** 2 + (y + 1) ** 2) / 2.0**2) for i in range(n)]
    )
    shear = np.tile((0.03, -0.02), (n, 1))
    return Maps(*(torch.from_numpy(each).float() for each in (source, kappa, shear)))


def observed(n=1, options=OPTIONS, noise=0.02, seed=1):
    """Those lenses with noise, and a mask in a corner."""
    maps = true_maps(n, options.shape[0])
    fwhm = torch.full((n,), 0.3)
    psf = gaussian_psfs(fwhm, options.pixel_scale, 7)
    image = Loop(options).lens(maps.convergence, maps.source, maps.shear, psf)
    noise_map = torch.full_like(image, noise)
    mask = torch.ones_like(image)
    mask[:, :4, :4] = 0.0
    generator = torch.Generator().manual_seed(seed)
    image = image + noise_map * torch.randn(image.shape, generator=generator)
    return Observed(image, noise_map, mask, psf, fwhm)


def latents(maps):
    """Of a loop whose link is the identity."""
    return Latents(maps.source, maps.convergence, maps.shear)


def stored(folder, options=OPTIONS, **changes) -> Card:
    """The card of a small network in a folder."""
    found = network(options)
    fields = {
        "name": "small",
        "task": "reconstruction",
        "description": "Small reconstructions.",
        "instrument": {
            "name": "any",
            "psf_fwhm": [0.2, 0.4],
            "signal_to_noise": [10.0, 100.0],
        },
        "bands": [],
        "n_parameters": sum(p.numel() for p in found.parameters()),
        "architecture": {"class": "RecurrentInferenceMachine", "config": found.config},
        "inputs": {"shape": list(options.shape), "pixel_scale": options.pixel_scale},
        "outputs": {
            "loop": options.as_dict(),
            "data": {
                "loop": options.as_dict(),
                "lenses": {"einstein_radius": [0.5, 0.9], "offset": 0.05},
                "galaxies": {"smooth": 1.0},
                "sources": {"half_light_radius": [0.1, 0.2], "offset": 0.2},
                "observations": {"psf_fwhm": [0.2, 0.4], "psf_size": 7},
            },
        },
        "training": {"preset": "small", "seed": 1},
        "metrics": {},
    }
    return save_network(folder, {**fields, **changes}, found.state_dict(), dtype="float32")
