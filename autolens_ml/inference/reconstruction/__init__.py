"""Source and convergence of a lens in pixels, by a Recurrent Inference Machine.

:class:`Reconstructor` is the front door. Names are imported when they are asked for: training needs
the loop alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_ROOMS = {
    "FineTuning": "fine_tuning",
    "LensImage": "lens_image",
    "LensSummary": "summary",
    "Loop": "loop",
    "LoopOptions": "loop",
    "Reconstruction": "reconstruct",
    "Reconstructor": "reconstruct",
    "Refinement": "refinement",
    "Steps": "reconstruct",
    "compared": "summary",
    "load_reconstructor": "reconstruct",
    "mass_sheet_factor": "summary",
    "summary_of": "summary",
}

__all__ = sorted(_ROOMS)


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
