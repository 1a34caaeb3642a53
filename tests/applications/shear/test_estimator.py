"""Shears of stamps as a dataset, its conventions, and a lens found in them."""

import autofit as af
import autolens as al
import numpy as np
import pytest
import torch
from scipy import optimize

from autolens_ml.applications.shear.estimator import ShearEstimator, Shears
from autolens_ml.exceptions import DataError, NetworkError
from autolens_ml.networks.checkpoint import cards, save_network
from autolens_ml.networks.shear import ShearNetwork, StampRegressor
from autolens_ml.simulate.shear_population import POPULATIONS
from autolens_ml.simulate.shear_stamps import StampRenderer
from autolens_ml.training.shear_calibration import calibrate
from tests.training.shears import POPULATION, MomentNetwork

EINSTEIN_RADIUS = 6.0
N_GALAXIES = 500


@pytest.fixture(scope="module")
def estimator():
    """Moments instead of a trained network; what follows them is the same."""
    network = MomentNetwork()
    calibrate(network, POPULATION, 600, 1)
    return ShearEstimator(network)


@pytest.fixture(scope="module", params=["moments", "shear-euclid"])
def measured(request, estimator):
    """Estimators, and the galaxies that they are for."""
    if request.param == "moments":
        return estimator, POPULATION
    if request.param not in [card.name for card in cards("shear")]:
        pytest.skip(f"{request.param} does not ship with the package yet")
    return ShearEstimator(request.param), POPULATIONS["euclid"]


def galaxies(shear, seed=0, population=POPULATION):
    """Galaxies and PSFs under given shears, row 0 at +y."""
    rng = np.random.default_rng(seed)
    scenes = population.draw(len(shear), rng).changed(
        shear=torch.from_numpy(np.asarray(shear, dtype=np.complex64))
    )
    stamps, psfs = StampRenderer(population).stamps(scenes)
    return stamps.numpy(), psfs.numpy()


def reduced_shear(tracer, positions):
    """Of PyAutoLens, as complex numbers."""
    grid = al.Grid2DIrregular(positions)
    simulated = al.SimulatorShearYX(noise_sigma=0.0, reduced=True).via_tracer_from(tracer, grid)
    gamma_2, gamma_1 = np.asarray(simulated.shear_yx).T
    return gamma_1 + 1j * gamma_2


def lens(einstein_radius=EINSTEIN_RADIUS):
    return al.Galaxy(redshift=0.3, mass=al.mp.IsothermalSph(einstein_radius=einstein_radius))


@pytest.mark.parametrize("shear", [0.1 + 0.0j, -0.1 + 0.0j, 0.1j, -0.1j])
def test_means_are_the_shear_with_its_sign(measured, shear):
    estimator, population = measured
    stamps, psfs = galaxies(np.full(250, shear), 3, population)
    mean, error = estimator.measure(stamps, psfs).mean()
    assert mean[0] + 1j * mean[1] == pytest.approx(shear, abs=4.0 * error[0])
    assert error[0] == error[1] == pytest.approx(0.23 / np.sqrt(250), rel=0.4)


def test_rows_upside_down_change_the_sign_of_the_second_component(estimator):
    stamps, psfs = galaxies(np.full(30, 0.1 + 0.05j))
    up, down = (
        estimator.measure(stamps[:, ::step].copy(), psfs[:, ::step].copy()).shear
        for step in (1, -1)
    )
    np.testing.assert_allclose(down, up * [1.0, -1.0], atol=1e-4)


def test_dataset_has_the_columns_of_autolens(estimator):
    stamps, psfs = galaxies(np.full(5, 0.1 + 0.05j))
    positions = np.arange(10.0).reshape(5, 2)
    shears = estimator.measure(stamps, psfs)
    dataset = estimator.dataset_from(stamps, psfs, positions, redshifts=np.full(5, 0.9), name="a")
    assert isinstance(dataset, al.WeakDataset) and dataset.is_reduced
    # Column 0 is gamma_2, column 1 is gamma_1.
    np.testing.assert_allclose(np.asarray(dataset.shear_yx), shears.shear[:, ::-1])
    np.testing.assert_allclose(np.asarray(dataset.noise_map), shears.error)
    np.testing.assert_allclose(np.asarray(dataset.positions), positions)
    assert np.asarray(dataset.redshifts).tolist() == [0.9] * 5
    assert dataset.name == "a"


def test_tangential_shear_around_a_lens(estimator):
    """Above and beside a lens, galaxies are stretched around it, whatever the conventions."""
    tracer = al.Tracer(galaxies=[lens(), al.Galaxy(redshift=1.0)])
    positions = np.array([(40.0, 0.0), (0.0, 40.0), (28.0, 28.0), (-28.0, 28.0)])
    expected = reduced_shear(tracer, positions)
    assert expected[1].real < 0.0 < expected[0].real
    assert expected[2].imag < 0.0 < expected[3].imag
    for place, shear in zip(positions, expected, strict=True):
        stamps, psfs = galaxies(np.full(400, shear), seed=7)
        dataset = estimator.dataset_from(stamps, psfs, np.tile(place, (400, 1)))
        weight = np.asarray(dataset.noise_map) ** -2.0
        gamma_2, gamma_1 = weight @ np.asarray(dataset.shear_yx) / weight.sum()
        assert gamma_1 + 1j * gamma_2 == pytest.approx(shear, abs=4.0 * weight.sum() ** -0.5)


def test_galaxies_behind_a_lens_give_its_einstein_radius(measured):
    estimator, population = measured
    tracer = al.Tracer(galaxies=[lens(), al.Galaxy(redshift=1.0)])
    rng = np.random.default_rng(1)
    radius = np.sqrt(rng.uniform(20.0**2, 60.0**2, N_GALAXIES))
    angle = rng.uniform(0.0, 2.0 * np.pi, N_GALAXIES)
    positions = np.stack((radius * np.sin(angle), radius * np.cos(angle)), axis=-1)
    stamps, psfs = galaxies(reduced_shear(tracer, positions), 11, population)
    dataset = estimator.dataset_from(stamps, psfs, positions, np.full(N_GALAXIES, 1.0))

    model = af.Collection(
        galaxies=af.Collection(
            lens=af.Model(
                al.Galaxy,
                redshift=0.3,
                mass=af.Model(
                    al.mp.IsothermalSph,
                    centre=(0.0, 0.0),
                    einstein_radius=af.UniformPrior(lower_limit=0.0, upper_limit=20.0),
                ),
            ),
            source=al.Galaxy(redshift=1.0),
        )
    )
    analysis = al.AnalysisWeak(dataset=dataset)

    def chi_squared(value):
        instance = model.instance_from_vector([float(value)])
        return -2.0 * analysis.log_likelihood_function(instance)

    best = optimize.minimize_scalar(chi_squared, bounds=(0.1, 20.0), method="bounded").x
    # The curvature of chi squared is its error.
    step = 0.5
    curvature = chi_squared(best + step) - 2.0 * chi_squared(best) + chi_squared(best - step)
    error = np.sqrt(2.0 * step**2 / curvature)
    assert error < 0.25 * EINSTEIN_RADIUS
    assert abs(best - EINSTEIN_RADIUS) < 2.5 * error
    # Errors are those of the galaxies: two numbers of each, and one parameter.
    fit = analysis.fit_from(model.instance_from_vector([float(best)]))
    assert fit.chi_squared / (2 * N_GALAXIES) == pytest.approx(1.0, abs=4.0 / N_GALAXIES**0.5)
    # With the columns exchanged there is no such lens.
    turned = al.WeakDataset.from_arrays(
        positions=positions,
        gamma_1=np.asarray(dataset.shear_yx)[:, 0],
        gamma_2=np.asarray(dataset.shear_yx)[:, 1],
        noise_map=list(np.asarray(dataset.noise_map)),
    )
    wrong = al.AnalysisWeak(dataset=turned).fit_from(model.instance_from_vector([float(best)]))
    assert wrong.chi_squared > fit.chi_squared + 15.0


def test_larger_stamps_are_cut_and_one_psf_serves_all(estimator):
    stamps, psfs = galaxies(np.full(4, 0.1j))
    plain = estimator.measure(stamps, np.repeat(psfs[:1], 4, axis=0))
    padded = np.pad(stamps, ((0, 0), (5, 5), (3, 3)))
    np.testing.assert_array_equal(estimator.measure(padded, psfs[0]).shear, plain.shear)
    arrays = [al.Array2D.no_mask(stamp, pixel_scales=0.1) for stamp in stamps]
    kernel = al.Array2D.no_mask(psfs[0], pixel_scales=0.1)
    np.testing.assert_allclose(estimator.measure(arrays, [kernel]).shear, plain.shear, atol=1e-6)


def test_means_weigh_by_errors():
    shears = Shears(np.array([[0.1, 0.0], [0.4, 0.3]]), np.array([0.1, 0.2]))
    mean, error = shears.mean()
    np.testing.assert_allclose(mean, [0.16, 0.06])
    np.testing.assert_allclose(error, np.full(2, 125.0**-0.5))


def bad(stamps, **options):
    return {"stamps": stamps, "psfs": np.ones((1, 32, 32)), **options}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (bad(np.ones((2, 24, 32))), "stamps of 24 x 32 pixels: the network sees 32 x 32"),
        (bad(np.ones((3, 32, 32)), psfs=np.ones((2, 32, 32))), "2 PSFs for 3 galaxies"),
        (bad(np.full((2, 32, 32), np.nan)), "stamps 0: has NaN"),
        (bad(np.zeros((2, 32, 32))), "stamps 0: is empty"),
        (bad(np.ones(32)), "give images"),
        (bad([np.ones((32, 32)), np.ones((32, 33))]), "stamps of different shapes"),
        (bad([]), "stamps of different shapes, or none"),
        (bad(np.ones((1, 32, 32)), psfs=np.zeros((1, 32, 32))), "psfs 0: is empty"),
    ],
)
def test_images_that_cannot_be_measured(estimator, options, message):
    with pytest.raises(DataError, match=message):
        estimator.measure(**options)


def test_catalogues_that_do_not_fit(estimator):
    stamps, psfs = galaxies(np.zeros(3) + 0j)
    with pytest.raises(DataError, match=r"positions of shape \(2, 2\) for 3 galaxies"):
        estimator.dataset_from(stamps, psfs, np.zeros((2, 2)))
    with pytest.raises(DataError, match="2 redshifts for 3 galaxies"):
        estimator.dataset_from(stamps, psfs, np.zeros((3, 2)), redshifts=[0.5, 0.6])


def stored(network, folder, **inputs):
    return save_network(
        folder,
        {
            "name": "stored",
            "task": "shear",
            "description": "A network.",
            "instrument": {},
            "bands": [],
            "n_parameters": 1,
            "architecture": {"class": type(network).__name__, "config": network.config},
            "inputs": inputs,
            "outputs": {},
            "training": {},
            "metrics": {},
        },
        network.state_dict(),
    )


def test_stored_networks(estimator, tmp_path):
    network = ShearNetwork(0.07, size=32, widths=(1, 1, 1, 1), psf_widths=(1, 1, 1, 1), n_hidden=2)
    stored(network, tmp_path, pixel_scale=0.1)
    loaded = ShearEstimator(tmp_path / "stored.json")
    assert (loaded.size, loaded.pixel_scale, loaded.card.name) == (32, 0.1, "stored")
    stamps, psfs = galaxies(np.zeros(2) + 0j)
    assert len(loaded.measure(stamps, psfs, pixel_scale=0.1)) == 2
    with pytest.raises(DataError, match=r"0\.2 arcsec per pixel: the network is for 0\.1"):
        loaded.measure(stamps, psfs, pixel_scale=0.2)


def test_networks_that_give_no_calibrated_shears(tmp_path):
    stored(StampRegressor(["g1", "g2"], [0, 0], [1, 1]), tmp_path)
    with pytest.raises(NetworkError, match="choose a calibrated one"):
        ShearEstimator(tmp_path / "stored.json")
    with pytest.raises(NetworkError, match="no network 'none'"):
        ShearEstimator("none")
