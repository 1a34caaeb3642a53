"""What a network that finds lenses looks at.

Maps say which pixels of a cut-out matter, images say what a class or a kernel answers to, and a
sanity check says whether a map depends on what the network has learned at all. captum, which most
of it stands on, comes with ``pip install 'autolens_ml[explain]'``.
"""

from importlib import import_module
from typing import Any

# Where each name lives. The command line reads this package for its help, and does not need torch.
_PUBLIC = {
    "METHODS": "attribution",
    "grad_cam": "attribution",
    "guided_backprop": "attribution",
    "guided_grad_cam": "attribution",
    "occlusion_map": "attribution",
    "KernelAnswers": "kernels",
    "kernel_answers": "kernels",
    "Layer": "layers",
    "layers_of": "layers",
    "Maximised": "maximise",
    "activation_maximisation": "maximise",
    "class_image": "maximise",
    "class_score": "maximise",
    "deep_dream": "maximise",
    "exciting_images": "maximise",
    "kernel_score": "maximise",
    "Sanity": "sanity",
    "sanity_check": "sanity",
    "Explanation": "run",
    "Options": "run",
    "explain_file": "run",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    globals()[name] = value
    return value
