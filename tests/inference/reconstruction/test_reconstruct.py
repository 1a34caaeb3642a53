"""The front door: what it gives is what PyAutoLens says of it, and what it doubts it says."""

import warnings
from dataclasses import replace

import autolens as al
import numpy as np
import pytest
import torch

from autolens_ml.exceptions import DataError, DataWarning, NetworkError
from autolens_ml.inference.reconstruction import (
    FineTuning,
    LensImage,
    Reconstructor,
    Refinement,
    load_reconstructor,
    reconstruct,
)
from autolens_ml.inference.reconstruction.fine_tuning import Tuned
from autolens_ml.inference.reconstruction.loop import Loop
from autolens_ml.networks.checkpoint import Card
from tests.inference.reconstruction.lenses import (
    OPTIONS,
    network,
    observed,
    stored,
    true_maps,
)


@pytest.fixture(scope="module")
def card(tmp_path_factory) -> Card:
    return stored(tmp_path_factory.mktemp("network"))


@pytest.fixture(scope="module")
def reconstructor(card):
    return Reconstructor(card)


def lens_image(brightness=30.0, pixel_scale=OPTIONS.pixel_scale, seed=1, masked=True):
    seen = observed(seed=seed)
    image, noise_map, mask = (
        each[0].double().numpy() for each in (seen.image, seen.noise_map, seen.mask)
    )
    psf = seen.psf[0].double().numpy()
    return LensImage(
        brightness * image, brightness * noise_map, psf, pixel_scale, mask if masked else None
    )


def quietly(reconstructor, data, **options):
    """By the network alone, if nothing else is said."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        return reconstructor.reconstruct(data, **{"refinement": None, **options})


@pytest.fixture(scope="module")
def result(reconstructor):
    return quietly(reconstructor, lens_image())


def test_a_result_is_what_the_loop_finds_in_units_of_the_data(reconstructor, result):
    seen = observed()
    with torch.no_grad():
        # The network sees data of any brightness as those of one.
        states = Loop(OPTIONS).unroll(network(), scaled(seen, result))
    assert np.allclose(result.chi_squared, [float(s.chi_squared) for s in states], rtol=1e-3)
    unit = 30.0 * float(seen.image[0, 10, 10] / scaled(seen, result).image[0, 10, 10])
    assert np.allclose(result.source, unit * states[-1].source[0].numpy(), rtol=1e-3, atol=1e-3)
    assert result.steps.source.shape == (3, 24, 24)
    assert np.array_equal(result.steps.convergence[-1], result.convergence)
    assert result.reduced_chi_squared == result.chi_squared[-1]
    mean = np.mean(result.normalised_residuals[result.mask > 0] ** 2)
    assert mean == pytest.approx(result.reduced_chi_squared, rel=1e-4)
    assert (reconstructor.shape, reconstructor.n_steps) == ((24, 24), 3)


def scaled(seen, result):
    from autolens_ml.inference.reconstruction.loop import units_of

    unit = units_of(seen.image, seen.noise_map, seen.mask)[:, None, None]
    noise_map = torch.where(seen.mask > 0, seen.noise_map / unit, 1.0)
    image = torch.where(seen.mask > 0, seen.image / unit, 0.0)
    fwhm = torch.tensor([0.3])
    return replace(seen, image=image, noise_map=noise_map, psf_fwhm=fwhm)


def test_brighter_data_are_brighter_sources(reconstructor, result):
    brighter = quietly(reconstructor, lens_image(brightness=3000.0))
    assert np.allclose(brighter.source, 100.0 * result.source, rtol=1e-4)
    assert np.allclose(brighter.convergence, result.convergence, rtol=1e-4)
    assert np.allclose(brighter.chi_squared, result.chi_squared, rtol=1e-4)


@pytest.mark.parametrize("size", [24, 25])
def test_pyautolens_has_the_same_model_image(reconstructor, size):
    """Also where (0, 0) is half a pixel off the middle of the grid, and shear is about it."""
    image = lens_image(masked=False)
    pad = ((0, size - 24), (0, size - 24))
    wide = LensImage(
        np.pad(image.image, pad),
        np.pad(image.noise_map, pad, constant_values=0.6),
        image.psf,
        image.pixel_scale,
    )
    found = quietly(reconstructor, wide)
    found = replace(found, shear=(0.05, -0.08))
    assert (np.abs(found.centre) > 0.05).all() if size == 25 else found.centre == (0.0, 0.0)
    loop = Loop(OPTIONS)
    maps = (found.convergence, found.source, np.array(found.shear))
    kappa, source, shear = (torch.from_numpy(each)[None].float() for each in maps)
    psf = torch.from_numpy(image.psf)[None].float()
    expected = loop.lens(kappa.log10(), source, shear, psf)[0].numpy()
    # With as many rays, at the centres of pixels.
    grid = al.Grid2D.uniform(
        shape_native=(24, 24), pixel_scales=0.15, over_sample_size=1, origin=found.centre
    )
    tracer = al.Tracer(galaxies=found.galaxies())
    light = tracer.image_2d_from(grid=grid).native.array
    from scipy.signal import fftconvolve

    assert np.allclose(fftconvolve(light, image.psf, "same"), expected, atol=2e-3 * expected.max())


def test_profiles_are_those_of_the_maps(result):
    lens, source = result.galaxies(redshift_lens=0.3, redshift_source=1.5)
    assert (lens.redshift, source.redshift) == (0.3, 1.5)
    assert np.array_equal(lens.mass.values, result.convergence)
    assert np.array_equal(source.light.values, result.source)
    assert result.einstein_radius == result.summary.einstein_radius


def test_many_lenses_are_the_same_as_each_alone(reconstructor, result):
    many = reconstructor.reconstruct_many([lens_image(seed=2), lens_image()], refinement=None)
    assert np.allclose(many[1].source, result.source, rtol=1e-3, atol=1e-3)
    assert np.allclose(many[1].chi_squared, result.chi_squared, rtol=1e-3)
    assert many[1].concerns == result.concerns and not np.allclose(many[0].data, many[1].data)


def test_fine_tuning_helps_and_leaves_the_network_alone(reconstructor, result, tmp_path):
    options = FineTuning(method="likelihood", n_steps=4, learning_rate=3e-3)
    checkpoint = tmp_path / "tuning.pt"
    tuned = quietly(reconstructor, lens_image(), fine_tuning=options, checkpoint=checkpoint)
    assert tuned.reduced_chi_squared < 0.9 * result.reduced_chi_squared
    assert len(tuned.tuning) == 5 and result.tuning.size == 0
    assert tuned.tuning[0] == pytest.approx(result.reduced_chi_squared, rel=1e-4)
    again = quietly(reconstructor, lens_image())
    assert np.array_equal(again.source, result.source)


def test_a_tuning_that_spoils_a_lens_is_not_the_result(reconstructor, monkeypatch):
    """A refinement from there ends in a worse place than one from the network as it was."""
    nowhere = network().requires_grad_(False)
    for parameter in nowhere.parameters():
        parameter.mul_(3.0)
    spoiled = Tuned(nowhere, np.array([2.0, 1.0]))
    monkeypatch.setattr(reconstruct, "fine_tuned", lambda *args, **options: spoiled)
    refinement = Refinement(n_steps=5)
    plain = quietly(reconstructor, lens_image(), refinement=refinement)
    monkeypatch.setattr(reconstructor, "_network", nowhere)
    worse = quietly(reconstructor, lens_image(), refinement=refinement)
    assert worse.reduced_chi_squared > 1.1 * plain.reduced_chi_squared
    monkeypatch.undo()
    monkeypatch.setattr(reconstruct, "fine_tuned", lambda *args, **options: spoiled)
    found = quietly(
        reconstructor, lens_image(), refinement=refinement, fine_tuning=FineTuning(n_steps=1)
    )
    assert found.reduced_chi_squared == plain.reduced_chi_squared
    assert np.array_equal(found.tuning, spoiled.chi_squared)


def test_refinement_is_one_more_step(reconstructor, result):
    found = quietly(reconstructor, lens_image(), refinement=Refinement(n_steps=20))
    assert np.allclose(found.chi_squared[:-1], result.chi_squared, rtol=1e-5)
    assert len(found.steps.source) == len(found.chi_squared) == 4
    assert found.reduced_chi_squared < 0.8 * result.reduced_chi_squared
    assert np.array_equal(found.source, found.steps.source[-1])
    (many,) = reconstructor.reconstruct_many([lens_image()], refinement=Refinement(n_steps=20))
    assert np.allclose(many.source, found.source, rtol=1e-2, atol=1e-2 * found.source.max())


def test_bad_fits_are_said_loudly(reconstructor, result):
    assert any("reduced chi-squared" in concern for concern in result.concerns)
    with pytest.warns(DataWarning, match="does not reproduce the data; try fine_tuning"):
        reconstructor.reconstruct(lens_image(), refinement=None)


def test_good_data_are_no_concern(card):
    """Of a network that knows the truth."""
    knowing = Reconstructor(card)
    maps = true_maps()
    unit = knowing._on_grid(lens_image()).unit / 30.0
    knowing._network = Knowing(maps._replace(source=maps.source / unit))
    knowing.loop = Loop(replace(OPTIONS, source_link="identity"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        found = knowing.reconstruct(lens_image(), refinement=None)
    assert found.concerns == () and found.reduced_chi_squared == pytest.approx(1.0, abs=0.15)
    assert np.allclose(found.source, 30.0 * maps.source[0].numpy(), atol=1e-3)
    assert found.shear == pytest.approx((0.03, -0.02), abs=1e-6)


class Knowing(torch.nn.Module):
    def __init__(self, maps):
        super().__init__()
        self.maps = maps

    def forward(self, given, hidden=None):
        wrong = (self.maps.source - given[:, 1], self.maps.convergence - given[:, 2])
        shear = self.maps.shear / 0.05 - given[:, 9:11, 0, 0]
        return torch.stack(wrong, dim=1), shear, []


def test_data_unlike_the_training_are_a_concern(reconstructor):
    image = lens_image()
    noisy = replace_arrays(image, noise_map=40.0 * image.noise_map)
    wide = replace_arrays(image, psf=np.ones((7, 7)))
    coarse = replace_arrays(image, pixel_scale=0.22)
    for data, words in (
        (noisy, "signal-to-noise"),
        (wide, "PSF width"),
        (coarse, "resampled"),
    ):
        (found,) = reconstructor.reconstruct_many([data], refinement=None)
        assert any(words in concern for concern in found.concerns), words


def replace_arrays(image, **changes):
    return LensImage(**{**vars(image), **changes})


def test_pixels_of_another_size_altogether_are_refused(reconstructor):
    with pytest.raises(DataError, match="cannot be resampled"):
        reconstructor.reconstruct(lens_image(pixel_scale=0.4))


def test_networks_are_found_by_path(card):
    assert load_reconstructor(card.path).card == card


def test_other_networks_are_refused(card, tmp_path):
    values = card.as_dict()
    other = Card.from_dict({**values, "task": "autoencoder"}, card.folder)
    with pytest.raises(NetworkError, match="is for autoencoder"):
        Reconstructor(other)
    del values["outputs"]["loop"]
    with pytest.raises(NetworkError, match="not the card of a network of reconstructions"):
        Reconstructor(Card.from_dict(values, card.folder))
