"""The fit of one lens at a glance."""

from pathlib import Path

import autolens as al
import autolens.plot as aplt
import matplotlib.pyplot as plt
import numpy as np
from autolens.lens.plot.tracer_plots import plane_image_from


def subplot_fit(fit: al.FitImaging, path: str | Path, title: str = "") -> Path:
    """Data, model, residuals, and the source with and without the lens.

    Parameters
    ----------
    fit
        A fit to imaging, as ``result.max_log_likelihood_fit``.
    path
        The file to write; its ending sets the format.
    title
        A line above the panels.

    Returns
    -------
    Path
        The file.
    """
    fig, axes = plt.subplots(2, 3, figsize=(14.0, 8.4), layout="constrained")
    tracer = fit.tracer_linear_light_profiles_to_light_profiles
    source = fit.model_images_of_planes_list[-1]
    # One pixel of the lens's centre must not set the scale of everything.
    vmax = float(np.percentile(fit.data.array, 99.8))
    vmin = -0.05 * vmax
    subtracted = fit.subtracted_images_of_planes_list[-1]
    source_vmax = max(float(np.max(source.array)), float(np.percentile(subtracted.array, 99.8)))

    # The units of the image are the user's: PyAutoLens's default label would call them e-/s.
    aplt.plot_array(array=fit.data, ax=axes[0, 0], title="Data", vmin=vmin, vmax=vmax, cb_unit="")
    aplt.plot_array(
        array=fit.model_data, ax=axes[0, 1], title="Model", vmin=vmin, vmax=vmax, cb_unit=""
    )
    residuals = fit.normalized_residual_map
    aplt.plot_array(
        array=residuals,
        ax=axes[0, 2],
        title="Residuals / noise",
        vmin=-5.0,
        vmax=5.0,
        colormap="RdBu_r",
        cb_unit=r"$\sigma$",
    )
    aplt.plot_array(
        array=subtracted,
        ax=axes[1, 0],
        title="Data without lens light",
        vmin=-0.05 * source_vmax,
        vmax=source_vmax,
        cb_unit="",
    )
    aplt.plot_array(
        array=source,
        ax=axes[1, 1],
        title="Lensed source model",
        vmin=0.0,
        vmax=source_vmax,
        cb_unit="",
    )
    plane = plane_image_from(galaxies=tracer.planes[-1], grid=fit.mask.derive_grid.all_false)
    aplt.plot_array(array=plane, ax=axes[1, 2], title="Source", cb_unit="")
    if title:
        fig.suptitle(title, fontsize=18)
    return _saved(fig, path)


def _saved(fig: plt.Figure, path: str | Path) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(path, dpi=120)
    plt.close(fig)
    return path
