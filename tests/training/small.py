"""A preset that is simulated and trained in seconds."""

from autolens_ml.training.preset import Preset

SIDE = 16

INSTRUMENT = {
    "name": "small",
    "shape": [SIDE, SIDE],
    "pixel_scale": 0.25,
    "psf_fwhm": [0.4, 0.6],
    "exposure_time": [1000.0, 4000.0],
    "background_sky_level": 0.2,
    "read_noise": 5.0,
    "bands": ["VIS"],
}

LENS = {
    "redshift": 0.5,
    "mass": {
        "class": "al.mp.IsothermalSph",
        "centre": {"gaussian": [0.0, 0.1]},
        "einstein_radius": {"uniform": [0.8, 1.6]},
    },
    "bulge": {
        "class": "al.lp.SersicSph",
        "centre": {"same_as": "galaxies.lens.mass.centre"},
        "intensity": {"log_uniform": [1.0, 20.0]},
        "effective_radius": 0.5,
        "sersic_index": 2.0,
    },
}

SOURCE = {
    "redshift": 1.0,
    "bulge": {
        "class": "al.lp.Exponential",
        "centre": {"gaussian": [0.0, 0.2]},
        "ell_comps": {"gaussian": [0.0, 0.2]},
        "intensity": {"log_uniform": [5.0, 50.0]},
        "effective_radius": 0.3,
    },
}


def preset(**changes) -> Preset:
    """The preset; ``data``, ``training`` and ``network`` are merged, other entries replaced."""
    values = {
        "name": "small",
        "description": "A lens in 16 x 16 pixels.",
        "task": "lens-parameters",
    }
    data = {
        "population": {
            "instrument": INSTRUMENT,
            "noise_units": True,
            "model": {"lens": LENS, "source": SOURCE},
        },
        "targets": ["galaxies.lens.mass", "galaxies.source.bulge.centre"],
        "shares": {"masked": 0.5, "uneven_depth": 0.3, "resampled": 0.5, "photon_spread": 4.0},
    }
    network = {
        "backbone_options": {"widths": [8, 16], "depths": [1, 1], "n_features": 16, "map_size": 2},
        "head_options": {"n_components": 2},
    }
    training = {
        "n_training": 64,
        "n_validation": 64,
        "n_steps": 20,
        "batch_size": 16,
        "validate_every": 8,
        "ema_decay": 0.9,
    }
    return Preset.from_dict(
        {
            **values,
            **changes,
            "data": {**data, **changes.get("data", {})},
            "network": {**network, **changes.get("network", {})},
            "training": {**training, **changes.get("training", {})},
        }
    )
