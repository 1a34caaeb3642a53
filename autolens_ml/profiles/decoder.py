"""Decoders of stored autoencoders, in numpy or JAX, without torch.

A decoder turns a few numbers, whose prior is N(0, 1) each, into a map: the light of a galaxy or the
convergence of a lens. Of the room of networks only its files are known here: what a card says, and
the names and shapes of the weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from autolens_ml.exceptions import NetworkError
from autolens_ml.networks.checkpoint import Card, find_card

__all__ = ["TASK", "Decoder", "decoder_from"]

TASK = "autoencoder"
_ARCHITECTURE = "Autoencoder"

# What a layer multiplies by and what it adds.
_Layer = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class Decoder:
    """Latents to a map, as :class:`autolens_ml.networks.autoencoder.Autoencoder` decodes them.

    Attributes
    ----------
    sha256 : str
        Of the file of the weights.
    quantity : str
        What the maps are of: ``"surface brightness"`` or ``"convergence"``.
    disc_radius : float
        Radius of the disc in which the mean of a map is one, in units of half its side.
    dense : tuple
        Two layers, (n_in, n_out) and (n_out,).
    coarse, fine : tuple
        Layers to a map with channels, (n_hidden, y, x, c) and (y, x, c), and to a map without.
    convolutions : tuple
        Layers of 3 x 3 pixels that double the resolution, (9 * c_in, 4 * c_out) and (4 * c_out,).
    disc : tuple
        Indices of the flattened pixels of the disc, and their shares of its area.
    """

    sha256: str
    quantity: str
    disc_radius: float
    dense: tuple[_Layer, _Layer]
    coarse: _Layer
    fine: _Layer
    convolutions: tuple[_Layer, ...]
    disc: tuple[np.ndarray, np.ndarray]

    @property
    def latent_dim(self) -> int:
        """Number of latents."""
        return len(self.dense[0][0])

    @property
    def size(self) -> int:
        """Pixels a side of the maps."""
        return len(self.fine[1])

    def map_from(self, latents: Sequence[Any], xp: ModuleType = np) -> Any:
        """The map at latents, above zero, with a mean of one in the disc around its middle.

        Parameters
        ----------
        latents
            As many numbers as there are latents.
        xp
            `numpy` or `jax.numpy`.

        Returns
        -------
        Shape (size, size).
        """
        hidden = xp.stack([xp.asarray(latent, dtype=float) for latent in latents])
        for weight, bias in self.dense:
            hidden = _silu(hidden @ weight + bias, xp)
        x = _maps(hidden, self.coarse, xp)
        for weight, bias in self.convolutions:
            x = _doubled(_neighbours(_silu(x, xp), xp) @ weight + bias)
        logarithms = x[..., 0] + _maps(hidden, self.fine, xp)
        pixels, shares = self.disc
        inside = logarithms.reshape(-1)[pixels]
        # Relative to the brightest there, so that nothing overflows.
        peak = xp.max(inside)
        return xp.exp(logarithms - peak) / xp.sum(shares * xp.exp(inside - peak))


def decoder_from(network: str, quantity: str, sha256: str | None = None) -> Decoder:
    """The decoder of a stored autoencoder; a file is read once, and again when it is replaced.

    Parameters
    ----------
    network
        Name of a shipped network, or a path as `autolens_ml.networks.checkpoint.find_card` takes
        it.
    quantity
        What its maps must be of: ``"surface brightness"`` or ``"convergence"``.
    sha256
        Of the weights that it must have; by default any.

    Raises
    ------
    NetworkError
        If there is no such network, it is of another kind or of other maps, its weights are missing
        or damaged, or they are not those asked for.
    """
    path = _card_path(network)
    decoder = _decoder(path, path.stat().st_mtime_ns if path.is_file() else 0)
    if decoder.quantity != quantity:
        raise NetworkError(
            f"{path}: its maps are of {decoder.quantity}, not of {quantity}: give another network"
        )
    if sha256 not in (None, decoder.sha256):
        raise NetworkError(
            f"{path}: its weights have sha256 {decoder.sha256[:12]}..., those of the model "
            f"{sha256[:12]}...: restore the network, or make the model again"
        )
    return decoder


@lru_cache
def _card_path(network: str) -> Path:
    return find_card(network).path


@lru_cache
def _decoder(path: Path, changed: int) -> Decoder:
    """The decoder of a card that was last changed at a time [ns]."""
    card = find_card(path, TASK)
    if card.architecture.get("class") != _ARCHITECTURE:
        raise NetworkError(
            f"{path}: no network of class {card.architecture.get('class')!r} can be evaluated "
            f"here, only {_ARCHITECTURE}: update autolens_ml"
        )
    from safetensors import SafetensorError

    try:
        return _arranged(card, _tensors(card))
    except (KeyError, TypeError, ValueError, SafetensorError) as error:
        raise NetworkError(
            f"{path}: the weights do not fit the architecture of their card: reinstall autolens_ml "
            "or train the network again"
        ) from error


def _tensors(card: Card) -> dict[str, np.ndarray]:
    """All tensors of a network as float64."""
    from safetensors.numpy import load

    try:
        data = card.weights.read_bytes()
    except OSError as error:
        raise NetworkError(f"{card.weights}: cannot be read ({error.strerror})") from error
    if hashlib.sha256(data).hexdigest() != card.sha256:
        raise NetworkError(
            f"{card.weights}: not the weights that {card.path.name} was written for: restore the "
            "file or train the network again"
        )
    return {name: np.asarray(array, dtype=float) for name, array in load(data).items()}


def _arranged(card: Card, tensors: dict[str, np.ndarray]) -> Decoder:
    """Weights of torch's layers, channels first, as those of a decoder."""

    def layer(name: str) -> _Layer:
        return tensors[f"decoder.{name}.weight"], tensors[f"decoder.{name}.bias"]

    def image(name: str, *shape: int) -> _Layer:
        weight, bias = layer(name)
        # (c, y, x, hidden) to (hidden, y, x, c).
        weight = np.ascontiguousarray(weight.reshape(*shape, -1).transpose(3, 1, 2, 0))
        return weight, bias.reshape(shape).transpose(1, 2, 0)

    config = card.architecture["config"]
    size, widths = config["size"], config["widths"]
    side = size // 2 ** len(widths)
    first, offset = layer("first")
    # The layer is given latents in other units.
    first, offset = first @ tensors["latent_root"], offset + first @ tensors["latent_mean"]
    second, bias = layer("second")
    fine, fine_bias = image("fine", 1, size, size)
    counts = tensors["disc"].ravel()
    (pixels,) = np.nonzero(counts)
    return Decoder(
        sha256=card.sha256,
        quantity=card.outputs["quantity"],
        disc_radius=float(config["disc_radius"]),
        dense=((np.ascontiguousarray(first.T), offset), (np.ascontiguousarray(second.T), bias)),
        coarse=image("coarse", widths[0], side, side),
        fine=(fine[..., 0], fine_bias[..., 0]),
        convolutions=tuple(_convolution(*layer(f"convolutions.{i}")) for i in range(len(widths))),
        disc=(pixels, counts[pixels] / counts.sum()),
    )


def _convolution(weight: np.ndarray, bias: np.ndarray) -> _Layer:
    """From (4 * c_out, c_in, 3, 3): inputs by place, then channel; outputs by quarter first."""
    n_out, n_in = weight.shape[:2]
    quarters = np.arange(n_out).reshape(-1, 4).T.ravel()
    columns = weight[quarters].transpose(2, 3, 1, 0).reshape(9 * n_in, n_out)
    return columns, bias[quarters]


def _silu(x: Any, xp: ModuleType) -> Any:
    return x / (1.0 + xp.exp(-x))


def _maps(hidden: Any, layer: _Layer, xp: ModuleType) -> Any:
    weight, bias = layer
    return xp.tensordot(hidden, weight, axes=1) + bias


def _neighbours(x: Any, xp: ModuleType) -> Any:
    """Each pixel's 3 x 3 surroundings, shape (y, x, 9 * c), of a map (y, x, c); zeros around it."""
    rows, columns, _ = x.shape
    padded = xp.pad(x, ((1, 1), (1, 1), (0, 0)))
    return xp.concatenate(
        [padded[i : i + rows, j : j + columns] for i in range(3) for j in range(3)], axis=-1
    )


def _doubled(x: Any) -> Any:
    """A map (2 y, 2 x, c) of the quarters of the pixels of (y, x, 4 * c)."""
    rows, columns, channels = x.shape
    quarters = x.reshape(rows, columns, 2, 2, channels // 4)
    return quarters.transpose(0, 2, 1, 3, 4).reshape(2 * rows, 2 * columns, channels // 4)
