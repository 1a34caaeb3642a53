"""The lens that ships with the package is what its truth file says."""

import numpy as np
import pytest

from autolens_ml.applications.fit.dataset import imaging_from_fits
from autolens_ml.applications.fit.demo import (
    DEMO_FITS,
    DEMO_MODEL,
    demo_dataset,
    demo_truth,
    fit_demo,
    simulate_demo,
    write_demo,
)
from autolens_ml.applications.fit.model import model_from
from autolens_ml.applications.fit.run import SEARCHES


def test_shipped_file_is_the_simulation(tmp_path):
    shipped = imaging_from_fits(DEMO_FITS)
    made = simulate_demo()

    for array in ("data", "noise_map"):
        ours = getattr(shipped, array).native.array
        assert ours.shape == (64, 64)
        assert np.allclose(ours, getattr(made, array).native.array, rtol=1e-6, atol=1e-6)
    assert np.allclose(
        shipped.psf.kernel.native.array, made.psf.kernel.native.array, rtol=1e-6, atol=1e-9
    )
    write_demo(tmp_path / "again.fits")
    assert (tmp_path / "again.fits").stat().st_size == DEMO_FITS.stat().st_size < 60_000


def test_truth_names_every_parameter_of_the_model():
    assert set(demo_truth()["parameters"]) == set(
        model_from(DEMO_MODEL).model_component_and_parameter_names
    )


def test_truth_fits_the_shipped_image():
    import autolens as al

    truth = demo_truth()
    dataset = demo_dataset()
    model = model_from(DEMO_MODEL, mask_radius=truth["mask_radius"])
    names = model.model_component_and_parameter_names
    instance = model.instance_from_vector([truth["parameters"][name] for name in names])

    fit = al.AnalysisImaging(dataset=dataset, use_jax=False).fit_from(instance)

    n = dataset.data.shape[0]
    assert fit.chi_squared == pytest.approx(n, abs=4.0 * np.sqrt(2.0 * n))
    light = fit.tracer_linear_light_profiles_to_light_profiles.galaxies[0].bulge
    assert light.intensity == pytest.approx(truth["intensity_lens"], rel=0.05)


def test_fit_demo_asks_for_what_it_should(monkeypatch, tmp_path):
    asked = {}

    def stop(calls, **common):
        asked.update(common)
        raise InterruptedError

    monkeypatch.setitem(SEARCHES, "cnn", stop)
    with pytest.raises(InterruptedError):
        fit_demo(output=tmp_path)
    assert asked["seed"] == 1
    assert asked["unique_tag"].startswith("demo-")


@pytest.mark.slow
def test_demo_recovers_its_truth(tmp_path, monkeypatch):
    # autofit's own figures and latent variables are those of the README's example.
    monkeypatch.setenv("PYAUTO_SKIP_VISUALIZATION", "1")
    monkeypatch.setenv("PYAUTO_SKIP_LATENTS", "1")
    report = fit_demo(output=tmp_path)

    assert report.status == "CONVERGED"
    sigmas = [parameter.sigmas_from_truth for parameter in report.parameters]
    assert len(sigmas) == 19
    assert max(map(abs, sigmas)) < 4.5
    assert np.mean(np.square(sigmas)) < 2.5
