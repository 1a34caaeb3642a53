"""Which network fits a model and its data; torch is not needed to tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from autolens_ml.latent import indexed_paths
from autolens_ml.networks.checkpoint import Card

TASK = "lens-parameters"

# Pixels of the data over those of a network that can be resampled to it.
_MIN_SCALE_RATIO, _MAX_SCALE_RATIO = 0.45, 1.6


def matched_columns(names: Sequence[str], model: Any) -> dict[int, int]:
    """Which parameters of a model are which of a network's.

    Paths are compared without the ``profile_list`` and numbers of a basis: its components share a
    centre and a shape as one profile has them.
    """
    known = {name: j for j, name in enumerate(names)}
    matched: dict[int, int] = {}
    for path, i in indexed_paths(model):
        name = ".".join(p for p in path if p != "profile_list" and not p.isdigit())
        if name in known:
            # A shared parameter has several paths: the network's own order decides.
            matched[i] = min(matched.get(i, known[name]), known[name])
    return dict(sorted(matched.items()))


def matching_network(model: Any, dataset: Any, cards: Sequence[Card]) -> tuple[Card | None, str]:
    """The network that knows most of a model, of those for its pixels and PSF; and why.

    Returns
    -------
    card
        ``None`` where none matches.
    reason
        One line that says which and why, or why none.
    """
    candidates = [card for card in cards if card.task == TASK]
    if not candidates:
        return None, "no network for lens parameters is installed"
    try:
        scale = float(dataset.pixel_scales[0])
    except (AttributeError, TypeError, IndexError):
        return None, "the networks are for images, and this dataset is none"
    if getattr(dataset, "psf", None) is None:
        return None, "the networks are for images with a PSF, and this dataset has none"
    fitting = [
        card
        for card in candidates
        if _MIN_SCALE_RATIO <= scale / float(card.inputs["pixel_scale"]) <= _MAX_SCALE_RATIO
    ]
    if not fitting:
        known = ", ".join(f'{card.name} {card.inputs["pixel_scale"]:g}"' for card in candidates)
        return None, f'no network for pixels of {scale:g}" ({known})'

    def rank(card: Card) -> tuple[int, float]:
        n_known = len(matched_columns(card.outputs["parameters"], model))
        return -n_known, abs(np.log(scale / float(card.inputs["pixel_scale"])))

    card = min(fitting, key=rank)
    n_known = -rank(card)[0]
    if n_known == 0:
        return (
            None,
            f"the networks know no parameter of this model ({card.name} has none in common)",
        )
    return card, (
        f"{card.name} knows {n_known} of {model.prior_count} parameters, at "
        f'{card.inputs["pixel_scale"]:g}" for pixels of {scale:g}"'
    )
