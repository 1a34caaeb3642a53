"""Which network fits a model and its data; torch is not needed to tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import autofit as af
import numpy as np

from autolens_ml.exceptions import DataError, NetworkError
from autolens_ml.latent import indexed_paths
from autolens_ml.networks.checkpoint import Card, cards, find_card
from autolens_ml.simulate.observation import psf_fwhm_from

# Of the networks that are chosen by themselves, and of all whose posteriors fits can start from:
# arcs need data without lens light, which only the user knows.
TASK = "lens-parameters"
TASKS = (TASK, "arc-parameters")

# Pixels of the data over those of a network that can be resampled to it.
_MIN_SCALE_RATIO, _MAX_SCALE_RATIO = 0.45, 1.6


def card_from(network: str | Path) -> Card:
    """The card of a network that fits can start from, by name or path.

    Raises
    ------
    NetworkError
        When there is none, its files are damaged, or it is for another task.
    """
    return checked(find_card(network))


def checked(card: Card) -> Card:
    """The card, if fits can start from its network.

    Raises
    ------
    NetworkError
        When it is for another task.
    """
    if card.task not in TASKS:
        usable = sorted(known.name for known in cards() if known.task in TASKS)
        raise NetworkError(
            f"network {card.name} is for {card.task}, not for {' or '.join(TASKS)}: give one of "
            f"{', '.join(usable)}, or a path"
        )
    return card


def matched_columns(
    names: Sequence[str], model: Any, ties: Mapping[str, str] | None = None
) -> dict[int, int]:
    """Which parameters of a model are which of a network's.

    Paths are compared without ``profile_list`` and the numbers of lists: the components of a basis
    share a centre and a shape as one profile has them.

    Parameters
    ----------
    names
        Paths of the network's parameters.
    model
        An ``af.Model`` or ``af.Collection``.
    ties
        Other paths of the network's parameters, see :func:`ties_of`.

    Returns
    -------
    dict
        Index in ``model.priors_ordered_by_id`` -> column of the network, by rising index.
    """
    known = {name: j for j, name in enumerate(names)}
    known |= {path: known[name] for path, name in (ties or {}).items()}
    matched: dict[int, int] = {}
    for path, i in indexed_paths(model):
        name = ".".join(p for p in path if p != "profile_list" and not p.isdigit())
        if name in known:
            # A shared parameter has several paths: the network's own order decides.
            matched[i] = min(matched.get(i, known[name]), known[name])
    return dict(sorted(matched.items()))


def ties_of(card: Card) -> dict[str, str]:
    """Paths that shared a parameter with one of the network's in training -> its name.

    A network trained on lenses whose light and mass share a centre knows the centre of the light
    too, also where a user's model lets the two differ.
    """
    # autofit takes the dictionary apart that it reads.
    model = af.AbstractPriorModel.from_dict(deepcopy(card.outputs["prior"]))
    paths = [(".".join(path), i) for path, i in indexed_paths(model)]
    columns = dict(paths)
    named = {columns[name]: name for name in card.outputs["parameters"] if name in columns}
    return {path: named[i] for path, i in paths if i in named and path != named[i]}


def matching_network(model: Any, dataset: Any, cards: Sequence[Card]) -> tuple[Card | None, str]:
    """The network that knows most of a model, and of those the one trained nearest to its data.

    Parameters
    ----------
    model
        What is fitted.
    dataset
        What it is fitted to; ``None`` where an analysis has no dataset of its own.
    cards
        Of the networks to choose from.

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
        psf_fwhm_from(dataset)
    except DataError as error:
        return None, str(error)
    scale = float(dataset.pixel_scales[0])
    fitting = [
        card
        for card in candidates
        if _MIN_SCALE_RATIO <= scale / float(card.inputs["pixel_scale"]) <= _MAX_SCALE_RATIO
    ]
    if not fitting:
        known = ", ".join(f'{card.name} {card.inputs["pixel_scale"]:g}"' for card in candidates)
        return None, f'no network for pixels of {scale:g}" ({known})'
    n_known = {
        card.name: len(matched_columns(card.outputs["parameters"], model, ties_of(card)))
        for card in fitting
    }
    card = min(fitting, key=lambda card: (-n_known[card.name], _unlikeness(card, dataset)))
    if n_known[card.name] == 0:
        return None, no_match(card, model)
    return card, (
        f"{card.name} knows {n_known[card.name]} of {model.prior_count} parameters, at "
        f'{card.inputs["pixel_scale"]:g}" for pixels of {scale:g}"'
    )


def no_match(card: Card, model: Any) -> str:
    """In words, that a network knows nothing of a model."""
    theirs = card.outputs["parameters"][0]
    ours = ".".join(indexed_paths(model)[0][0])
    return (
        f"network {card.name} knows no parameter of this model: it knows {theirs} and the like, "
        f"the model has {ours} and the like"
    )


def _unlikeness(card: Card, dataset: Any) -> float:
    """How far pixels and PSF are from those of a network's training, as logarithms of ratios."""
    low, high = card.instrument["psf_fwhm"]
    fwhm = psf_fwhm_from(dataset, card.instrument.get("psf_beta"))
    from_psf = max(0.0, np.log(low / fwhm), np.log(fwhm / high))
    from_pixels = abs(np.log(dataset.pixel_scales[0] / card.inputs["pixel_scale"]))
    return float(from_pixels + from_psf)
