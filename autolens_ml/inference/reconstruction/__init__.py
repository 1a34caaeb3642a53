"""Source and convergence of a lens in pixels, by a Recurrent Inference Machine.

:class:`Reconstructor` is the front door. Names are imported when they are asked for: training needs
the loop alone.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "fine_tuning": ["FineTuning"],
        "lens_image": ["LensImage"],
        "loop": ["Loop", "LoopOptions"],
        "reconstruct": ["Reconstruction", "Reconstructor", "Steps", "load_reconstructor"],
        "refinement": ["Refinement"],
        "summary": ["LensSummary", "compared", "mass_sheet_factor", "summary_of"],
    },
)
