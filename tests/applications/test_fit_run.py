"""A whole fit of a small lens: numbers, figures, output folder, and reading a finished fit back."""

import autofit as af
import autolens as al
import numpy as np
import pytest
from autonerves import conf
from matplotlib import image as mpimg

from autolens_ml.applications.fit.run import SEARCHES, fingerprint, fit_imaging, search_from
from autolens_ml.exceptions import OptionError

EINSTEIN_RADIUS = 1.2


@pytest.fixture(scope="module")
def dataset() -> al.Imaging:
    grid = al.Grid2D.uniform(shape_native=(24, 24), pixel_scales=0.2, over_sample_size=2)
    tracer = al.Tracer(
        galaxies=[
            al.Galaxy(redshift=0.5, mass=al.mp.IsothermalSph(einstein_radius=EINSTEIN_RADIUS)),
            al.Galaxy(
                redshift=1.0,
                bulge=al.lp.ExponentialSph(centre=(0.1, 0.05), intensity=0.5, effective_radius=0.3),
            ),
        ]
    )
    simulator = al.SimulatorImaging(
        exposure_time=100.0,
        background_sky_level=0.5,
        psf=al.Convolver.from_gaussian(shape_native=(3, 3), sigma=0.15, pixel_scales=0.2),
        noise_seed=4,
    )
    mask = al.Mask2D.circular(shape_native=(24, 24), pixel_scales=0.2, radius=2.2)
    return simulator.via_tracer_from(tracer=tracer, grid=grid).apply_mask(mask=mask)


@pytest.fixture
def model() -> af.Collection:
    lens = af.Model(al.Galaxy, redshift=0.5, mass=al.mp.IsothermalSph)
    lens.mass.centre = (0.0, 0.0)
    source = af.Model(al.Galaxy, redshift=1.0, bulge=al.lp_linear.ExponentialSph)
    return af.Collection(galaxies=af.Collection(lens=lens, source=source))


@pytest.fixture
def cheap(monkeypatch):
    """A search that ends in seconds, and no figures but ours."""
    monkeypatch.setenv("PYAUTO_SKIP_VISUALIZATION", "1")
    monkeypatch.setenv("PYAUTO_SKIP_LATENTS", "1")
    monkeypatch.setitem(
        SEARCHES, "cheap", lambda calls, **common: af.DynestyStatic(nlive=50, **common)
    )


def test_fit_is_reported_drawn_and_read_back(cheap, dataset, model, tmp_path):
    said = []
    before = conf.instance.output_path
    truth = {"galaxies.lens.mass.einstein_radius": EINSTEIN_RADIUS}

    report = fit_imaging(
        dataset, model, search="cheap", output=tmp_path, seed=2, truth=truth, progress=said.append
    )

    radius = report.parameters[0]
    assert radius.path == "galaxies.lens.mass.einstein_radius"
    assert abs(radius.sigmas_from_truth) < 4.0
    assert radius.error_plus < 0.02
    assert report.n_likelihood > 100
    assert not report.resumed
    assert said[0].startswith("compiling the likelihood")
    assert report.output.is_relative_to(tmp_path / f"lens-{fingerprint(dataset)}" / "cheap_seed2")
    assert (report.output / "files" / "samples.csv").is_file()
    for figure in report.figures:
        pixels = mpimg.imread(figure)
        assert min(pixels.shape[:2]) > 100
        assert pixels[..., :3].std() > 0.05
    assert not list(report.output.rglob("*anesthetic*"))
    assert conf.instance.output_path == before

    again = fit_imaging(
        dataset, model, search="cheap", output=tmp_path, seed=2, truth=truth, progress=said.append
    )

    assert again.resumed
    assert again.output == report.output
    assert again.parameters[0].median == pytest.approx(radius.median)


def test_config_is_left_as_it_was_when_a_fit_fails(cheap, dataset, model, tmp_path, monkeypatch):
    nest = conf.instance["visualize"]["plots_search"]["nest"]
    before = dict(nest.items()), conf.instance.output_path

    def broken(calls, **common):
        assert nest["corner_anesthetic"] is False
        assert conf.instance.output_path == tmp_path
        raise RuntimeError("broken")

    monkeypatch.setitem(SEARCHES, "cheap", broken)
    with pytest.raises(RuntimeError, match="broken"):
        fit_imaging(dataset, model, search="cheap", output=tmp_path)
    assert (dict(nest.items()), conf.instance.output_path) == before


def test_fingerprint_follows_every_part_of_the_data(dataset):
    same = fingerprint(dataset)
    assert fingerprint(dataset) == same
    assert len(same) == 8

    smaller = al.Mask2D.circular(shape_native=(24, 24), pixel_scales=0.2, radius=2.0)
    noisier = al.Imaging(data=dataset.data, noise_map=dataset.noise_map * 1.01, psf=dataset.psf)
    brighter = al.Imaging(data=dataset.data + 1e-6, noise_map=dataset.noise_map, psf=dataset.psf)
    others = {fingerprint(d) for d in (dataset.apply_mask(mask=smaller), noisier, brighter)}
    assert len(others | {same}) == 4


@pytest.mark.parametrize(
    ("search", "options", "message"),
    [
        ("emcee", {}, "no search 'emcee'; set --search to one of cnn, rim, nautilus"),
        ("cnn", {"seed": -1}, "set --seed to 0 or more"),
        ("cnn", {"max_likelihood_calls": 0}, "set --max-likelihood-calls above 0"),
    ],
)
def test_options_that_mean_nothing(search, options, message):
    with pytest.raises(OptionError, match=message):
        search_from(search, name="a", unique_tag="b", **options)


def test_searches_get_their_options():
    nautilus = search_from("nautilus", name="a", unique_tag="b", seed=3, max_likelihood_calls=12)
    assert search_from("nautilus", name="a", unique_tag="b", n_effective=70).n_eff == 70
    cnn = search_from("cnn", name="a", unique_tag="b", n_effective=70)
    assert (cnn.n_effective, search_from("cnn", name="a", unique_tag="b").n_effective) == (70, 1000)
    assert isinstance(nautilus, af.Nautilus)
    assert (nautilus.n_live, nautilus.n_like_max, nautilus.seed) == (150, 12, 3)
    assert np.isinf(search_from("nautilus", name="a", unique_tag="b").n_like_max)
