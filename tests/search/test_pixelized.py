"""`aml.RIM` on models with pixelized light and mass: maps are made once, then fitted."""

import json
from pathlib import Path

import autofit as af
import autolens as al
import numpy as np
import pytest
from autonerves import conf

import autolens_ml as aml
from autolens_ml.exceptions import DataError, NetworkError, OptionError
from autolens_ml.inference import reconstruction
from autolens_ml.latent import LatentSpace
from autolens_ml.search.pixelized import is_pixelized, maps_for
from tests.inference.reconstruction import lenses
from tests.networks import climbs
from tests.search import targets

# The small network has learned nothing: it reproduces no data, and says so.
pytestmark = pytest.mark.filterwarnings("ignore:reconstruction. ")

SETTINGS = {
    "n_noise": 3,
    "n_effective": 20,
    "n_draws": 16,
    "n_polish": 1,
    "n_starts": 2,
    "n_steps": 10,
    "max_likelihood_calls": 500,
    "seed": 1,
}


def dataset() -> al.Imaging:
    seen = lenses.observed()
    arrays = (seen.image, seen.noise_map, seen.psf)
    image, noise_map, psf = (array[0].double().numpy() for array in arrays)
    mask = seen.mask[0].numpy()
    made = reconstruction.LensImage(image, noise_map, psf, lenses.OPTIONS.pixel_scale, mask)
    return made.imaging().apply_over_sampling(over_sample_size_lp=1)


def model() -> af.Collection:
    """Two amplitudes and a shear are free; the maps are still to be made."""
    blank = np.zeros((2, 2))
    mass = af.Model(
        aml.mp.PixelConvergence, values=blank, pixel_scale=1.0, position_angle=0.0, scale=1.0
    )
    mass.centre = (0.0, 0.0)
    mass.amplitude = af.TruncatedGaussianPrior(
        mean=1.0, sigma=0.1, lower_limit=0.5, upper_limit=1.5
    )
    light = af.Model(
        aml.lp.PixelLight, values=blank, pixel_scale=1.0, position_angle=0.0, scale=1.0
    )
    light.centre.centre_0 = 0.0
    light.centre.centre_1 = af.GaussianPrior(mean=0.0, sigma=0.1)
    light.intensity = af.TruncatedGaussianPrior(
        mean=1.0, sigma=0.2, lower_limit=0.0, upper_limit=2.0
    )
    shear = af.Model(al.mp.ExternalShear)
    return af.Collection(
        galaxies=af.Collection(
            lens=af.Model(al.Galaxy, redshift=0.5, mass=mass, shear=shear),
            source=af.Model(al.Galaxy, redshift=1.0, light=light),
        )
    )


@pytest.fixture
def output(monkeypatch, tmp_path):
    """Send output to an empty folder, without figures."""
    monkeypatch.setattr(conf.instance, "output_path", str(tmp_path / "output"))
    monkeypatch.setenv("PYAUTO_SKIP_VISUALIZATION", "1")
    monkeypatch.setenv("PYAUTO_SKIP_WORKSPACE_VERSION_CHECK", "1")
    return tmp_path / "output"


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    """Of a small network of reconstructions."""
    return lenses.stored(tmp_path_factory.mktemp("network"))


def maps(card, n_noise=0, **changes):
    options = {"fine_tune": False, "seed": 1, "folder": None, "say": lambda line: None}
    return maps_for(dataset(), str(card.path), n_noise=n_noise, **{**options, **changes})


@pytest.mark.filterwarnings("ignore:aml.RIM FAILED")
def test_a_fit_and_the_same_again(output, card, monkeypatch):
    def fit():
        search = aml.RIM(name="pixels", network=card.path, **SETTINGS)
        analysis = al.AnalysisImaging(dataset=dataset(), use_jax=False)
        return search.fit(model=asked, analysis=analysis), search

    asked = model()
    result, search = fit()
    expected = maps(card, n_noise=3)
    galaxies = result.max_log_likelihood_instance.galaxies
    np.testing.assert_array_equal(galaxies.lens.mass.values, expected.convergence)
    np.testing.assert_array_equal(galaxies.source.light.values, expected.source)
    assert galaxies.lens.mass.centre == tuple(expected.centre)
    assert result.max_log_likelihood_fit.model_data is not None
    # What the user wrote is as it was.
    np.testing.assert_array_equal(asked.galaxies.lens.mass.values, np.zeros((2, 2)))

    info = result.samples.samples_info
    assert info["log_evidence"] is None
    assert info["network"] == card.name
    assert info["reduced_chi_squared"] == pytest.approx(expected.reduced_chi_squared)
    assert "3 noise-perturbed copies" in info["uncertainty"]
    assert "chi-squared" in info["network_doubts"]
    folder = Path(search.paths.output_path)
    summary = (folder / "search.summary").read_text()
    assert "Reduced chi-squared" in summary
    stored = json.loads((folder / "files/samples_info.json").read_text())
    assert stored["log_evidence"] is None

    # Again: neither the network nor the likelihood is asked.
    monkeypatch.setattr("autolens_ml.inference.reconstruction.Reconstructor", None, raising=False)
    monkeypatch.setattr(aml.RIM, "run", None)
    again, _ = fit()
    loaded = again.max_log_likelihood_instance.galaxies
    np.testing.assert_array_equal(loaded.lens.mass.values, expected.convergence)
    assert loaded.lens.mass.amplitude == pytest.approx(galaxies.lens.mass.amplitude)


def test_free_parameters_start_at_the_reconstruction(card):
    found = maps(card)
    filled = found.put_into(model())
    space = LatentSpace.from_model(filled)
    draws = found.draws(filled, space)(200, np.random.default_rng(0))
    middle = dict(zip(space.names, space.physical_from(draws).mean(axis=0), strict=True))
    assert middle["galaxies.lens.mass.amplitude"] == pytest.approx(1.0, abs=0.01)
    assert middle["galaxies.source.light.intensity"] == pytest.approx(1.0, abs=0.01)
    assert middle["galaxies.lens.shear.gamma_1"] == pytest.approx(found.shear[0], abs=0.01)
    assert middle["galaxies.lens.shear.gamma_2"] == pytest.approx(found.shear[1], abs=0.01)
    name = "galaxies.source.light.centre.centre_1"
    assert middle[name] == pytest.approx(found.source_centre[1], abs=0.01)


def test_fixed_centres_follow_the_maps_and_free_ones_stay_free(card):
    found = maps(card)
    filled = found.put_into(model())
    light = filled.galaxies.source.light
    assert light.centre.centre_0 == found.source_centre[0]
    assert isinstance(light.centre.centre_1, af.Prior)
    assert light.pixel_scale == found.source_pixel_scale
    assert filled.galaxies.lens.mass.pixel_scale == found.pixel_scale
    assert filled.prior_count == model().prior_count


def test_scatter_is_that_of_noisy_copies(card):
    found = maps(card, n_noise=6)
    assert found.convergence_scatter.shape == found.convergence.shape
    assert found.convergence_scatter.mean() > 0.0 and found.source_scatter.mean() > 0.0
    assert np.all(maps(card).convergence_scatter == 0.0)


def test_maps_are_stored_once(card, tmp_path):
    first = maps(card, n_noise=2, folder=tmp_path)
    (file,) = tmp_path.iterdir()
    written = file.stat().st_mtime_ns
    again = maps(card, n_noise=2, folder=tmp_path)
    assert file.stat().st_mtime_ns == written
    np.testing.assert_array_equal(first.convergence, again.convergence)
    np.testing.assert_array_equal(first.source_scatter, again.source_scatter)
    assert first.info == again.info
    maps(card, n_noise=2, folder=tmp_path, seed=2)
    assert len(list(tmp_path.iterdir())) == 2
    file.write_bytes(b"no archive")
    with pytest.raises(DataError, match="cannot be read; delete it"):
        maps(card, n_noise=2, folder=tmp_path)


def test_only_maps_are_pixelized():
    assert is_pixelized(model())
    assert not is_pixelized(targets.model())


def test_data_that_are_no_image(output, card):
    search = aml.RIM(network=card.path, **SETTINGS)
    with pytest.raises(DataError, match=r"reconstructed from an al.Imaging, and there is no"):
        search.fit(model=model(), analysis=targets.Gaussian())


def test_networks_for_something_else(output, tmp_path, card):
    climber = climbs.stored(tmp_path)
    analysis = al.AnalysisImaging(dataset=dataset(), use_jax=False)
    with pytest.raises(NetworkError, match="for optimizer, not for reconstruction"):
        aml.RIM(name="a", network=climber.path, **SETTINGS).fit(model=model(), analysis=analysis)
    with pytest.raises(NetworkError, match="for reconstruction, not for optimizer"):
        aml.RIM(name="b", network=card.path, **SETTINGS).fit(
            model=targets.model(), analysis=targets.Gaussian()
        )
    with pytest.raises(NetworkError, match="for optimizer, not for lens-parameters"):
        aml.RIM(name="c", network=None, starts=climber.path).fit(
            model=targets.model(), analysis=targets.Gaussian()
        )
    assert not output.exists()


@pytest.mark.parametrize(
    ("option", "value"), [("n_starts", 0), ("n_steps", 2.5), ("n_noise", -1), ("n_steps", True)]
)
def test_bad_options(option, value):
    with pytest.raises(OptionError, match=f"{option} must be a whole number"):
        aml.RIM(**{option: value})
