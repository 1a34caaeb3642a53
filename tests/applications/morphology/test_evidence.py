"""From a flag to the evidence."""

from types import SimpleNamespace

import numpy as np
import pytest

from autolens_ml.applications.morphology import evidence
from autolens_ml.applications.morphology.baselines import PrincipalComponents, smooth_fit_scores
from autolens_ml.applications.morphology.evidence import (
    DECISIVE,
    VortexEvidence,
    compare_flagged,
    lens_model,
    setting_model,
    vortex_parameters,
    vortex_seen,
)
from autolens_ml.applications.morphology.look import Looked
from autolens_ml.applications.morphology.observed import ObservedLens
from autolens_ml.exceptions import DataError, OptionError
from autolens_ml.simulate.morphology.lensing import MACRO, STRING
from autolens_ml.simulate.morphology.settings import SETTINGS, einstein_radii_from
from autolens_ml.simulate.morphology.systems import MorphologyPopulation
from autolens_ml.training.detection import area_under_curve
from autolens_ml.training.morphology_accuracy import observed_batches
from tests.morphologies import observed, small_systems, stored_classifier


def fitted(log_evidence, **parameters):
    found = [
        SimpleNamespace(path=path, median=m, error_minus=0.1 * m, error_plus=0.1 * m)
        for path, m in parameters.items()
    ]
    return SimpleNamespace(
        log_evidence=log_evidence,
        log_evidence_error=0.3,
        status="CONVERGED",
        parameters=found,
        as_dict=lambda: {},
    )


def test_models_differ_by_the_vortex():
    smooth, vortex = lens_model(False), lens_model(True)
    paths = {".".join(path) for path in vortex.paths} - {".".join(path) for path in smooth.paths}
    assert {path.split(".")[2] for path in paths} == {"vortex"}
    assert vortex.prior_count - smooth.prior_count == 5
    instance = vortex.instance_from_prior_medians()
    assert instance.galaxies.lens.vortex.core_radius == 0.05


def drawn(model, n):
    """Instances of lens and source of a model, of draws of its priors."""
    rng = np.random.default_rng(1)
    units = rng.random((n, model.prior_count))
    galaxies = (model.instance_from_unit_vector(unit.tolist()).galaxies for unit in units)
    return [(each.lens, each.source.bulge) for each in galaxies]


def test_priors_of_a_setting_are_what_its_lenses_are_drawn_from():
    setting, n = SETTINGS["model-i"], 400
    macro, _ = MorphologyPopulation(setting).smooth_lenses(n, np.random.default_rng(0))
    rows = [
        (
            lens.mass.einstein_radius,
            *lens.mass.ell_comps,
            *(lens.shear.gamma_1, lens.shear.gamma_2),
            *light.centre,
            light.effective_radius,
            *light.ell_comps,
            light.sersic_index,
        )
        for lens, light in drawn(setting_model(setting, False), n)
    ]
    known = macro[:, : len(MACRO) - 1]
    scatter = known.std(axis=0)
    off = (np.mean(rows, axis=0) - known.mean(axis=0)) / scatter
    assert np.abs(off).max() < 4.0 * np.sqrt(2.0 / n)
    assert np.std(rows, axis=0) == pytest.approx(scatter, rel=0.15)


def test_the_mass_of_a_vortex_is_missing_in_the_halo_of_a_setting():
    setting = SETTINGS["model-i"]
    lenses = [lens for lens, _ in drawn(setting_model(setting, True), 200)]
    angular = np.array([lens.vortex.mass_angular for lens in lenses])
    halo = np.array([lens.mass.einstein_radius for lens in lenses])
    expected = einstein_radii_from(setting.halo_mass)
    total = np.sqrt(halo**2 + angular / np.pi)
    assert np.median(total) == pytest.approx(expected, rel=0.005)
    assert np.std(total) == pytest.approx(0.5 * np.log(10.0) * 0.01 * expected, rel=0.2)
    assert abs(np.corrcoef(total, angular)[0, 1]) < 0.25 < -np.corrcoef(halo, angular)[0, 1]
    low, high = np.pi * np.array(setting.vortex_share) * expected**2
    assert low <= angular.min() < 1.02 * low and 0.98 * high < angular.max() <= high
    assert {lens.mass.centre for lens in lenses} == {(0.0, 0.0)}


def test_pictures_have_no_model():
    with pytest.raises(OptionError, match="'real-sources': its sources are pictures"):
        setting_model(SETTINGS["real-sources"], False)


@pytest.mark.parametrize(("difference", "words"), [(9.0, "a vortex"), (-2.0, "no vortex")])
def test_verdicts(difference, words):
    angular = np.pi * einstein_radii_from(3e10) ** 2
    path = "galaxies.lens.vortex.mass_angular"
    found = VortexEvidence("a", fitted(-100.0), fitted(-100.0 + difference, **{path: angular}))
    assert found.log_bayes_factor == pytest.approx(difference)
    assert found.log_bayes_factor_error == pytest.approx(0.3 * np.sqrt(2.0))
    assert words in found.verdict and f"{difference:+.1f}" in found.verdict
    assert ("of 3.0e+10 (2.7e+10 to 3.3e+10) solar" in found.verdict) == (difference > 0.0)
    median, low, high = found.mass()
    assert median == pytest.approx(3e10)
    assert low == pytest.approx(3e10 * 0.9) and high == pytest.approx(3e10 * 1.1)
    assert pytest.approx(np.log(100.0)) == DECISIVE
    assert "not finished" in VortexEvidence("a", fitted(None), fitted(1.0)).verdict


def test_a_failed_fit_is_no_evidence_for_anything():
    failed = fitted(-50.0)
    failed.status = "FAILED"
    verdict = VortexEvidence("a", fitted(-100.0), failed).verdict
    assert "not to be relied on" in verdict and "a vortex" not in verdict.rsplit(": ", 1)[1]


def test_every_flagged_lens_is_fitted_twice(tmp_path, monkeypatch):
    card = stored_classifier(tmp_path)
    _, systems = small_systems()
    images, _ = observed(systems)
    np.save(tmp_path / "one.npy", images[0])
    calls = []

    starts, medians = [], []

    def fake(dataset, model, *, name, initializer, **options):
        calls.append((name, model.prior_count, dataset.shape_native))
        starts.append(initializer and initializer.parameter_dict)
        values = [prior.value_for(0.6) for prior in model.priors_ordered_by_id]
        named = dict(zip(model.model_component_and_parameter_names, values, strict=True))
        medians.append(named)
        return fitted(float(len(calls)), **named)

    monkeypatch.setattr(evidence, "fit_imaging", fake)
    rows = [Looked(str(tmp_path / "one.npy")), Looked(str(tmp_path / "none.npy"))]
    good, bad = compare_flagged(rows, card, seed=1)
    assert [name for name, *_ in calls] == ["one-without-vortex", "one-with-vortex"]
    assert calls[1][1] - calls[0][1] == 5 and calls[0][2] == (32, 32)
    # The second fit starts where the first ended: the vortex anywhere.
    assert starts[0] is None
    limits = dict(zip(medians[1], starts[1].values(), strict=True))
    for name, median in medians[0].items():
        assert limits.pop(name) == pytest.approx((0.9 * median, 1.1 * median))
    assert len(limits) == 5 and all(high - low > 0.5 for low, high in limits.values())
    assert good.log_bayes_factor == pytest.approx(1.0)
    assert "none.npy" in bad.verdict and np.isnan(bad.log_bayes_factor)
    assert good.as_dict()["verdict"] == good.verdict


def test_vortices_by_the_paths_of_the_model():
    model = lens_model(True)
    values = vortex_parameters(0.1, -0.2, 130.0, 0.6, 0.3)
    names = model.model_component_and_parameter_names
    vector = [
        values.get(name, prior.value_for(0.5))
        for name, prior in zip(names, model.priors_ordered_by_id, strict=True)
    ]
    vortex = model.instance_from_vector(vector).galaxies.lens.vortex
    assert vortex.centre == (0.1, -0.2)
    assert np.mod(vortex.position_angle, 180.0) == pytest.approx(130.0)
    assert (vortex.half_length, vortex.einstein_radius) == pytest.approx((0.6, 0.3))


def test_fits_start_where_the_network_sees_a_vortex():
    population = MorphologyPopulation("model-i", {"vortex": 1.0})
    instrument = population.setting.instrument
    ((systems, batch),) = observed_batches(population, 16, 5)
    inside, widths = [], []
    for i, string in enumerate(systems.strings[:, 0]):
        true = dict(zip(STRING, string, strict=True))
        del true["core_radius"]
        image, noise = batch.images[i].double().numpy(), batch.noise[i].double().numpy()
        lens = ObservedLens("a", image, noise, systems.psf_fwhm[i])
        seen = vortex_seen(lens, instrument, 0)
        for path, value in vortex_parameters(**true).items():
            low, high = seen[path]
            inside.append(low < value < high)
        widths.append(np.ptp(seen["galaxies.lens.vortex.centre_0"]))
    assert np.mean(inside) > 0.9  # 98 per cent are due
    assert np.median(widths) < 1.2  # of the prior's 2.3 arcsec
    assert set(seen) < set(lens_model(True).model_component_and_parameter_names)
    small = ObservedLens("a", image[:32, :32], noise[:32, :32], 0.1)
    assert vortex_seen(small, instrument, 0) == {}


def test_principal_components():
    rng = np.random.default_rng(0)
    basis = rng.standard_normal((3, 8, 8))
    truth = np.einsum("ni,iyx->nyx", rng.standard_normal((100, 3)), basis)
    noise = 0.1 * np.ones_like(truth)
    images = truth + noise * rng.standard_normal(truth.shape)
    for some in (images, images[:50]):  # more images than pixels, and fewer
        components = PrincipalComponents.of(some, 3)
        np.testing.assert_allclose(components.reconstruct(truth), truth, atol=0.4)
        assert components.scores(images, noise).mean() == pytest.approx(1.0, abs=0.1)
    strange = images + 0.5 * rng.standard_normal((8, 8))
    assert components.scores(strange, noise).min() > components.scores(images, noise).max()
    with pytest.raises(DataError, match="give more images"):
        PrincipalComponents.of(images, 100)


def test_the_smooth_fit_finds_heavy_subhaloes():
    population, systems = small_systems()
    rows = np.concatenate([np.flatnonzero(systems.classes == c)[:4] for c in (0, 1)])
    images, noise = observed(systems[rows])
    scores = smooth_fit_scores(images, noise, systems.psf_fwhm[rows], population.setting.instrument)
    assert area_under_curve(scores, systems.classes[rows] > 0) > 0.8
