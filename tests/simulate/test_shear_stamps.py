"""Stamps: orientation, exact shear and convolution, real galaxies, noise, and GalSim's word."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from autolens_ml.simulate.shear_population import ShearPopulation
from autolens_ml.simulate.shear_stamps import (
    StampRenderer,
    adaptive_moments,
    cut_out_transforms,
)
from autolens_ml.simulate.sources import library_from

# Gaussian galaxies behind Gaussian PSFs, well sampled: everything is known.
GAUSSIAN = {
    "galaxies": {"sersic": 1.0},
    "sersic_index": 0.5,
    "psfs": {"gaussian": 1.0},
    "pixel_scale": 0.1,
    "half_light_radius": 0.4,
    "psf_fwhm": 0.5,
}
# Smoother PSFs than these are not needed to see what a shear does to a cut-out.
FINE = {
    "galaxies": {"cut-out": 1.0},
    "psfs": {"gaussian": 1.0},
    "pixel_scale": 0.05,
    "half_light_radius": 0.35,
    "psf_fwhm": 0.1,
    "size": 64,
    "max_offset": 0.0,
    "max_psf_shear": 0.0,
}
SIGMA_PER_HALF_LIGHT = 1.0 / np.sqrt(2.0 * np.log(2.0))


def drawn(n=4, seed=0, **options):
    population = ShearPopulation(**options)
    return StampRenderer(population), population.draw(n, np.random.default_rng(seed))


def clean(renderer, scenes):
    transforms = renderer.psf_transforms(scenes)
    return renderer.galaxies(scenes, transforms).double(), renderer.psfs(
        scenes, transforms
    ).double()


def moments_of(image, pixel_scale):
    """Centroid (x, y) and second moments over (x, y), in arcsec, row 0 at +y."""
    side = (np.arange(image.shape[0]) - 0.5 * (image.shape[0] - 1)) * pixel_scale
    x, y = np.meshgrid(side, -side)
    light = image / image.sum()
    centre = np.array([(light * x).sum(), (light * y).sum()])
    dx, dy = x - centre[0], y - centre[1]
    xy = (light * dx * dy).sum()
    return centre, np.array([[(light * dx**2).sum(), xy], [xy, (light * dy**2).sum()]])


def stretch(ellipticity):
    e = complex(ellipticity)
    matrix = np.array([[1.0 + e.real, e.imag], [e.imag, 1.0 - e.real]])
    return matrix / np.sqrt(1.0 - abs(e) ** 2)


def ellipticity_of(moments):
    spin = moments[0, 0] - moments[1, 1] + 2j * moments[0, 1]
    return spin / (np.trace(moments) + 2.0 * np.sqrt(np.linalg.det(moments)))


def test_moments_of_gaussians_add_up():
    # Rounder than drawn in training: all of their light is in the stamp.
    renderer, scenes = drawn(max_ellipticity=0.4, max_shear=0.1, max_psf_shear=0.2, **GAUSSIAN)
    galaxies, psfs = clean(renderer, scenes)
    pixel = np.eye(2) * 0.1**2 / 12.0
    for i in range(len(scenes)):
        shape = stretch(scenes.shear[i]) @ stretch(scenes.ellipticity[i, 0])
        blur = stretch(scenes.psf_ellipticity[i])
        galaxy = (0.4 * SIGMA_PER_HALF_LIGHT) ** 2 * shape @ shape.T
        psf = (0.25 * SIGMA_PER_HALF_LIGHT) ** 2 * blur @ blur.T + pixel
        assert galaxies[i].sum() == pytest.approx(1.0, abs=1e-3)
        assert psfs[i].sum() == pytest.approx(1.0, abs=1e-4)
        for image, centre, expected in (
            (galaxies[i], scenes.centre[i], galaxy + psf),
            (psfs[i], scenes.psf_centre[i], psf),
        ):
            place, moments = moments_of(image.numpy(), 0.1)
            np.testing.assert_allclose(place, [centre.real, centre.imag], atol=2e-4)
            np.testing.assert_allclose(moments, expected, atol=5e-4)


def test_directions():
    renderer, scenes = drawn(2, max_offset=0.0, max_psf_shear=0.0, **GAUSSIAN)
    along_x, along_diagonal = 0.3 + 0.0j, 0.0 + 0.3j
    shapes = torch.tensor([[along_x, 0.0], [along_diagonal, 0.0]])
    round_psf = scenes.changed(ellipticity=shapes, shear=torch.zeros(2) + 0j)
    galaxies, _ = clean(renderer, round_psf)
    first, second = galaxies.numpy()
    # Light that is spread along x is concentrated in few rows.
    assert first.sum(1).std() > 1.1 * first.sum(0).std()
    # The diagonal from the lower left to the upper right, in an image whose row 0 is on top.
    assert np.trace(second[:, ::-1]) > 1.4 * np.trace(second)


def test_offsets_move_light_as_they_say():
    renderer, scenes = drawn(1, max_psf_shear=0.0, **GAUSSIAN)
    moved = scenes.changed(centre=torch.tensor([0.3 + 0.2j]))
    still = scenes.changed(centre=torch.zeros(1) + 0j)
    shifted = clean(renderer, moved)[0][0].numpy()
    expected = ndimage.shift(clean(renderer, still)[0][0].numpy(), (-2, 3), order=1)
    np.testing.assert_allclose(shifted[4:-4, 4:-4], expected[4:-4, 4:-4], atol=1e-6)


def test_cut_outs_have_the_ellipticity_that_they_are_given():
    renderer, scenes = drawn(6, seed=2, max_ellipticity=0.4, max_shear=0.2, **FINE)
    galaxies, _ = clean(renderer, scenes)
    for i in range(len(scenes)):
        # Rows upwards, as y.
        moments = adaptive_moments(galaxies[i].numpy()[::-1])
        found = ellipticity_of(moments - np.eye(2) * (0.1 / 2.355 / 0.05) ** 2)
        assert found == pytest.approx(complex(scenes.observed_ellipticity[i]), abs=0.03)


def test_shear_of_a_cut_out_is_a_map_of_its_image():
    """The picture of a sheared galaxy against its own picture, stretched pixel by pixel."""
    renderer, scenes = drawn(3, seed=5, max_ellipticity=0.5, **{**FINE, "psf_fwhm": 0.2})
    shear = torch.tensor([0.25 - 0.2j, 0.3j, -0.3 + 0.1j])
    plain, _ = clean(renderer, scenes.changed(shear=0.0 * shear))
    # The PSF is sheared as well, so that the whole picture is.
    lensed, _ = clean(renderer, scenes.changed(shear=shear, psf_ellipticity=shear))
    for i in range(3):
        inverse = np.linalg.inv(stretch(shear[i]))
        # Over (row, column): y falls from row to row.
        swapped = inverse[::-1, ::-1] * np.array([[1.0, -1.0], [-1.0, 1.0]])
        middle = np.full(2, 31.5)
        expected = ndimage.affine_transform(
            plain[i].numpy(), swapped, middle - swapped @ middle, order=3
        )
        difference = np.abs(lensed[i].numpy() - expected).max() / expected.max()
        wrong = np.abs(plain[i].numpy() - expected).max() / expected.max()
        assert difference < 0.012 < 0.1 * wrong


def test_transforms_of_cut_outs_are_sums_over_their_pixels():
    library = library_from("hubble-deep-field")
    transforms, maps = cut_out_transforms("hubble-deep-field")
    renderer, scenes = drawn(2, seed=3, **FINE)
    values = renderer._cut_out_transforms(scenes)
    rng = np.random.default_rng(0)
    for i in range(2):
        stamp = np.asarray(library[int(scenes.cut_out[i])])[::-1]
        side = np.arange(library.size) - 0.5 * (library.size - 1)
        turn = float(scenes.turn[i]) + np.angle(
            1.0 + complex(scenes.shear[i]) * np.conj(complex(scenes.ellipticity[i, 0]))
        )
        rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        onto_sky = (
            float(scenes.radius[i, 0])
            * stretch(scenes.observed_ellipticity[i])
            @ rotation
            @ maps[int(scenes.cut_out[i])].double().numpy()
        )
        for _ in range(20):
            row, column = rng.integers(0, 20, 2) * rng.choice([1, -1])
            k = np.array([renderer._kx[abs(column)], renderer._ky[row]])
            k_stamp = onto_sky.T @ k
            if np.abs(k_stamp).max() > 2.5:
                continue
            phase = np.exp(-1j * (k_stamp[0] * side[None, :] + k_stamp[1] * side[:, None]))
            expected = (stamp * phase).sum() / stamp.sum()
            assert complex(values[i, row, abs(column)]) == pytest.approx(expected, abs=5e-3)
    assert transforms.shape[0] == len(library) == len(maps)


def test_adaptive_moments_are_those_of_a_gaussian():
    side = np.arange(41) - 20.0
    x, y = np.meshgrid(side, side)
    covariance = np.array([[20.0, 5.0], [5.0, 9.0]])
    inverse = np.linalg.inv(covariance)
    image = np.exp(-0.5 * (inverse[0, 0] * x**2 + 2 * inverse[0, 1] * x * y + inverse[1, 1] * y**2))
    np.testing.assert_allclose(adaptive_moments(image), covariance, rtol=1e-3)


def test_signal_to_noise_and_noise():
    renderer, scenes = drawn(300, seed=1)
    stamps, _ = renderer.stamps(scenes)
    light = stamps - renderer.noise(scenes)
    norm = torch.linalg.vector_norm(light, dim=(1, 2))
    assert torch.allclose(norm, scenes.signal_to_noise, rtol=1e-3)
    noise = renderer.noise(scenes)
    assert noise.std() == pytest.approx(1.0, abs=0.01)
    assert torch.equal(noise, renderer.noise(scenes))
    other = scenes.changed(noise_seed=scenes.noise_seed + 1)
    assert not torch.equal(noise, renderer.noise(other))


def test_variants_differ_by_what_was_changed_alone():
    renderer, scenes = drawn(70, seed=6, max_shear=0.0)
    shear = torch.full((70,), 0.05 + 0.0j)
    variants = (scenes.changed(shear=shear), scenes.changed(shear=-shear), scenes.turned())
    galaxies, psfs = renderer.alike(variants)
    assert galaxies.shape == psfs.shape == (3, 70, 48, 48)
    assert torch.equal(psfs[0], psfs[1]) and torch.equal(psfs[0], psfs[2])
    light = galaxies - renderer.noise(scenes)
    norms = torch.linalg.vector_norm(light, dim=(2, 3))
    assert torch.allclose(norms.mean(0), scenes.signal_to_noise, rtol=1e-3)
    flux = light.sum((2, 3)) / norms.mean(0)
    assert torch.allclose(flux[0], flux[1], rtol=0.02)
    same, _ = renderer.alike((scenes, scenes))
    assert torch.equal(same[0], same[1])


def test_a_turn_by_90_degrees_is_one_of_the_image():
    renderer, scenes = drawn(
        8, seed=7, max_shear=0.0, max_psf_shear=0.0, max_offset=0.0, psfs={"moffat": 1.0}
    )
    plain, _ = clean(renderer, scenes)
    turned, _ = clean(renderer, scenes.turned())
    expected = torch.rot90(plain, 1, (1, 2))
    error = (turned - expected).abs().amax((1, 2)) / expected.amax((1, 2))
    assert error.max() < 2e-3


@pytest.mark.parametrize("kind", ["moffat", "gaussian"])
def test_galsim_makes_the_same_stamps(kind):
    galsim = pytest.importorskip("galsim")
    renderer, scenes = drawn(
        8,
        seed=3,
        galaxies={"sersic": 1.0, "bulge-disc": 1.0},
        psfs={kind: 1.0},
        half_light_radius=(0.15, 0.35),
        sersic_index=(0.5, 3.0),
        max_shear=0.1,
    )
    galaxies, psfs = clean(renderer, scenes)
    table = np.geomspace(0.5, 6.0, 96)

    def shear(value):
        return {"g1": float(value.real), "g2": float(value.imag)}

    for i in range(len(scenes)):
        width = float(scenes.psf_fwhm[i])
        beta = 1.6 + (float(scenes.psf_row[i]) - 96.0) / 31.0 * 4.4
        psf = galsim.Gaussian(fwhm=width)
        if kind == "moffat":
            psf = galsim.Moffat(beta=beta, fwhm=width)
        psf = psf.shear(**shear(scenes.psf_ellipticity[i]))
        parts = [
            galsim.Sersic(
                n=float(np.exp(np.interp(float(scenes.row[i, c]), range(96), np.log(table)))),
                half_light_radius=float(scenes.radius[i, c]),
                flux=float(scenes.flux[i, c]),
            ).shear(**shear(scenes.ellipticity[i, c]))
            for c in range(2)
            if scenes.flux[i, c] > 0.0
        ]
        galaxy = galsim.Add(parts).shear(**shear(scenes.shear[i]))
        places = (scenes.centre[i], scenes.psf_centre[i])
        whole = galsim.Convolve(galaxy.shift(float(places[0].real), float(places[0].imag)), psf)
        seen = psf.shift(float(places[1].real), float(places[1].imag))
        for ours, theirs in ((galaxies[i], whole), (psfs[i], seen)):
            image = theirs.drawImage(nx=48, ny=48, scale=0.1).array[::-1]
            # De Vaucouleurs wings reach beyond the padded stamp.
            assert np.abs(ours.numpy() - image).max() < 2e-3 * image.max()
