"""Decoders without torch: equal to the network's own, and whose weights they take."""

import json
import os
import subprocess
import sys

import autofit as af  # noqa: F401  first: it switches 64-bit JAX on
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from autolens_ml.exceptions import NetworkError
from autolens_ml.networks.autoencoder import Autoencoder
from autolens_ml.networks.checkpoint import find_card, load_state, save_card
from autolens_ml.profiles.decoder import decoder_from
from tests.profiles.decoders import LIGHT, MASS, autoencoder, stored

LATENTS = np.random.default_rng(2).normal(size=(4, 3))


def trained(n_steps: int = 20) -> Autoencoder:
    """After some steps on random maps."""
    network = autoencoder().train()
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    maps = torch.rand(32, 16, 16, generator=generator)
    for _ in range(n_steps):
        optimizer.zero_grad()
        network.objective(maps, torch.randn(32, 3, generator=generator)).loss.backward()
        optimizer.step()
    network.learn_prior(network.encode(maps))
    return network.eval()


def decoded(network: Autoencoder, latents: np.ndarray, dtype: torch.dtype) -> np.ndarray:
    """By torch."""
    with torch.no_grad():
        again = Autoencoder(**network.config)
        again.load_state_dict(network.state_dict())
        given = torch.tensor(latents, dtype=dtype)
        if dtype == torch.float64:
            # The same operations in double precision, in which no network runs.
            again.double()
            inner = again.decoder(again.latent_mean + given @ again.latent_root.T)
            weights = (again.disc / again.disc.sum()).log()
            return (inner - torch.logsumexp(inner + weights, (1, 2), keepdim=True)).exp().numpy()
        return again.decode(given).numpy()


@pytest.mark.parametrize(
    ("make", "dtype"),
    [
        (trained, "float16"),
        (trained, "float32"),
        (lambda: autoencoder(size=64, latent_dim=16, widths=[12, 8, 4], spread=0.1), "float16"),
        (lambda: autoencoder(size=48, latent_dim=8, widths=[5], n_hidden=7), "float32"),
        (lambda: autoencoder(disc_radius=1.0), "float16"),
    ],
    ids=["trained-half", "trained", "large", "one-doubling", "wide-disc"],
)
def test_maps_are_those_of_torch(tmp_path, make, dtype):
    network = make()
    card = stored(tmp_path, network, dtype=dtype)
    network.load_state_dict(load_state(card))
    decoder = decoder_from(str(card.path), LIGHT)
    dim = network.config["latent_dim"]
    assert (decoder.size, decoder.latent_dim) == (network.config["size"], dim)
    latents = np.random.default_rng(1).normal(size=(3, dim))
    single, double = (decoded(network, latents, t) for t in (torch.float32, torch.float64))
    assert np.ptp(double, axis=0).max() > 0.01
    found = np.array([decoder.map_from(one) for one in latents])
    assert np.allclose(found, single, rtol=1e-5, atol=0)
    assert np.allclose(found, double, rtol=1e-12, atol=0)


def test_numpy_and_jax_agree_on_maps_and_gradients(tmp_path):
    decoder = decoder_from(str(stored(tmp_path).path), LIGHT)

    def both(latents):
        values = decoder.map_from(latents, xp=jnp)
        return values, values

    # Many at once, as searches have them; the last two are far out in the prior.
    latents = np.concatenate((LATENTS, [60.0 * LATENTS[0], -60.0 * LATENTS[0]]))
    exact, maps = jax.jit(jax.vmap(jax.jacrev(both, has_aux=True)))(latents)
    assert np.isfinite(exact).all()
    for one, values, derivatives in zip(latents, maps, exact, strict=True):
        assert np.allclose(values, decoder.map_from(one), rtol=1e-12, atol=0)
        for i, step in enumerate(1e-6 * np.eye(3)):
            upper, lower = decoder.map_from(one + step), decoder.map_from(one - step)
            scale = np.abs(derivatives[..., i]).max()
            difference = (upper - lower) / 2e-6
            assert np.allclose(derivatives[..., i], difference, rtol=1e-5, atol=1e-6 * scale)
            assert scale > 0.01


def test_a_file_is_read_once_and_again_when_it_is_replaced(tmp_path):
    path = str(stored(tmp_path).path)
    first = decoder_from(path, LIGHT)
    assert decoder_from(path, LIGHT) is first
    card = stored(tmp_path, autoencoder(seed=7))
    os.utime(card.path, ns=(1, card.path.stat().st_mtime_ns + 1_000_000))
    second = decoder_from(path, LIGHT)
    assert second.sha256 == card.sha256 != first.sha256
    assert not np.allclose(second.map_from(LATENTS[0]), first.map_from(LATENTS[0]))
    card.path.unlink()
    with pytest.raises(NetworkError, match="no such file"):
        decoder_from(path, LIGHT)


def test_other_weights_than_those_asked_for_are_refused(tmp_path):
    card = stored(tmp_path)
    assert decoder_from(str(card.path), LIGHT, card.sha256).sha256 == card.sha256
    with pytest.raises(NetworkError, match=r"sha256 .* those of the model 000000000000"):
        decoder_from(str(card.path), LIGHT, "0" * 64)


def test_maps_of_something_else_are_refused(tmp_path):
    path = str(stored(tmp_path, quantity=MASS).path)
    assert decoder_from(path, MASS).quantity == MASS
    with pytest.raises(NetworkError, match="of convergence, not of surface brightness"):
        decoder_from(path, LIGHT)


def test_networks_for_something_else_are_refused(tmp_path):
    path = str(stored(tmp_path, task="lens-parameters").path)
    with pytest.raises(NetworkError, match="a network for lens-parameters, not for autoencoder"):
        decoder_from(path, LIGHT)
    architecture = {"class": "Transformer", "config": {}}
    path = str(stored(tmp_path, name="other", architecture=architecture).path)
    with pytest.raises(NetworkError, match="class 'Transformer'"):
        decoder_from(path, LIGHT)
    with pytest.raises(NetworkError, match="no network 'nothing'"):
        decoder_from("nothing", LIGHT)


def test_damaged_files_are_refused(tmp_path):
    card = stored(tmp_path / "altered")
    data = bytearray(card.weights.read_bytes())
    data[-1] ^= 1
    card.weights.write_bytes(data)
    with pytest.raises(NetworkError, match="not the weights that small"):
        decoder_from(str(card.path), LIGHT)
    card = stored(tmp_path / "lost")
    card.weights.unlink()
    with pytest.raises(NetworkError, match="cannot be read"):
        decoder_from(str(card.path), LIGHT)
    config = {**autoencoder().config, "size": 32}
    card = stored(tmp_path / "misfit", architecture={"class": "Autoencoder", "config": config})
    with pytest.raises(NetworkError, match="do not fit the architecture"):
        decoder_from(str(card.path), LIGHT)
    card = stored(tmp_path / "silent")
    values = json.loads(card.path.read_text())
    del values["outputs"]["quantity"]
    save_card(type(card).from_dict(values, card.folder))
    with pytest.raises(NetworkError, match="do not fit the architecture"):
        decoder_from(str(card.path), LIGHT)


def test_torch_is_not_needed(tmp_path):
    card = stored(tmp_path)
    assert find_card(card.path).name == "small"
    code = (
        "import sys\n"
        "from autolens_ml.profiles.light.neural import NeuralSource\n"
        f"image = NeuralSource({str(card.path)!r}).pixels().values\n"
        "print(image.shape, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "(16, 16) False"
