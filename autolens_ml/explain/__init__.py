"""What a network that finds lenses looks at.

Maps say which pixels of a cut-out matter, images say what a class or a kernel answers to, and a
sanity check says whether a map depends on what the network has learned at all. captum, which most
of it stands on, comes with ``pip install 'autolens_ml[explain]'``.
"""

import lazy_loader

# Where each name lives. The command line reads this package for its help, and does not need torch.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "attribution": [
            "METHODS",
            "grad_cam",
            "guided_backprop",
            "guided_grad_cam",
            "occlusion_map",
        ],
        "kernels": ["KernelAnswers", "kernel_answers"],
        "layers": ["Layer", "layers_of"],
        "maximise": [
            "Maximised",
            "activation_maximisation",
            "class_image",
            "class_score",
            "deep_dream",
            "exciting_images",
            "kernel_score",
        ],
        "run": ["Explanation", "Options", "explain_file"],
        "sanity": ["Sanity", "sanity_check", "sanity_checks"],
    },
)
