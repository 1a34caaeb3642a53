"""Neural networks as torch modules, free of lensing, and how they are stored.

The package is also a function: ``aml.networks()`` is
:func:`autolens_ml.networks.checkpoint.cards`.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autolens_ml.networks.checkpoint import Card


class _Networks(ModuleType):
    def __call__(self, task: str | None = None) -> "list[Card]":
        """The networks that ship with the package, sorted by name."""
        from autolens_ml.networks.checkpoint import cards

        return cards(task)


sys.modules[__name__].__class__ = _Networks
