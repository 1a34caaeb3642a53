"""Exchangeable components, and proposals that count their relabellings."""

import autofit as af
import autolens as al
import numpy as np
import pytest

from autolens_ml.inference.importance import Status
from autolens_ml.inference.mixture import StudentMixture
from autolens_ml.inference.symmetry import Proposal, candidate_exchanges, confirmed_relabellings
from autolens_ml.inference.target import Target
from autolens_ml.latent import LatentSpace, blocks_of
from tests.inference import problems

X = np.linspace(-3.0, 3.0, 40)
NOISE = 0.05


class Peak:
    """A Gaussian peak."""

    def __init__(self, centre=0.0, height=1.0):
        self.centre, self.height = centre, height


def peak_model(limits=3.0, height=2.0):
    return af.Model(
        Peak,
        centre=af.UniformPrior(-limits, limits),
        height=af.UniformPrior(0.0, height),
    )


def peaks(n, **last):
    """``n`` peaks, the last with priors of its own."""
    models = [peak_model() for _ in range(n - 1)] + [peak_model(**last)]
    return af.Collection(peaks=af.Collection(models))


def target_of(model, weights):
    """A blend of peaks, each seen with a weight: equal weights are a symmetry."""
    space = LatentSpace.from_model(model)
    centres = [space.names.index(f"peaks.{i}.centre") for i in range(len(weights))]
    heights = [space.names.index(f"peaks.{i}.height") for i in range(len(weights))]
    weights = np.asarray(weights)
    truth = np.linspace(-1.5, 1.5, len(weights)), np.linspace(0.7, 1.2, len(weights))

    def shapes_from(centre):
        return np.exp(-0.5 * ((X - centre[:, None]) / 0.4) ** 2)

    data = (weights * truth[1]) @ shapes_from(truth[0])
    data = data + NOISE * np.random.default_rng(1).standard_normal(len(X))

    def value_and_gradient(x):
        shapes = shapes_from(x[centres])
        r = (data - (weights * x[heights]) @ shapes) / NOISE
        gradient = np.empty(len(x))
        gradient[heights] = weights * (shapes @ r) / NOISE
        slopes = shapes * (X - x[centres][:, None]) / 0.4**2
        gradient[centres] = weights * x[heights] * (slopes @ r) / NOISE
        return -0.5 * r @ r, gradient

    return Target(space, lambda x: value_and_gradient(x)[0], value_and_gradient)


def latents(dim, n=12):
    return np.random.default_rng(2).standard_normal((n, dim))


def is_group(relabellings):
    members = {tuple(g) for g in relabellings}
    identity = tuple(range(relabellings.shape[1])) == tuple(relabellings[0])
    closed = all(tuple(a[b]) in members for a in relabellings for b in relabellings)
    return identity and closed and len(members) == len(relabellings)


@pytest.mark.parametrize(
    ("n", "n_candidates", "n_relabellings"), [(2, 1, 2), (3, 3, 6), (4, 6, 24)]
)
def test_exchangeable_components(n, n_candidates, n_relabellings):
    """All pairs are candidates, all n! relabellings are found, and they are a group."""
    model = peaks(n)
    target = target_of(model, np.ones(n))
    candidates = candidate_exchanges(model)
    assert len(candidates) == n_candidates
    relabellings = confirmed_relabellings(target, candidates, latents(2 * n))
    assert relabellings.shape == (n_relabellings, 2 * n)
    assert is_group(relabellings)
    z = latents(2 * n, 1)
    values = target.log_likelihood(z[0][relabellings])
    np.testing.assert_allclose(values, values[0], rtol=1e-9)


def test_an_exchange_keeps_what_belongs_together():
    """The centre of one component goes where the centre of the other was."""
    model = peaks(2)
    (permutation,) = candidate_exchanges(model)
    names = LatentSpace.from_model(model).names
    for i, j in enumerate(permutation):
        assert names[i].split(".")[-1] == names[j].split(".")[-1]
        assert names[i].split(".")[1] != names[j].split(".")[1]


def test_too_many_components_are_not_summed():
    """Five would have 120 relabellings: part of a group is no group."""
    model = peaks(5)
    target = target_of(model, np.ones(5))
    relabellings = confirmed_relabellings(target, candidate_exchanges(model), latents(10))
    np.testing.assert_array_equal(relabellings, np.arange(10)[None])


@pytest.mark.parametrize("last", [{"limits": 2.5}, {"height": 1.0}])
def test_unequal_priors_are_no_symmetry(last):
    assert candidate_exchanges(peaks(2, **last)) == []
    assert len(candidate_exchanges(peaks(3, **last))) == 1


def test_likelihood_that_is_not_symmetric_is_not_confirmed():
    """The model looks exchangeable; the likelihood says otherwise, for all or for one."""
    model = peaks(2)
    candidates = candidate_exchanges(model)
    assert len(candidates) == 1
    relabellings = confirmed_relabellings(target_of(model, [1.0, 1.001]), candidates, latents(4))
    assert len(relabellings) == 1
    model = peaks(3)
    target = target_of(model, [1.0, 1.0, 0.8])
    assert len(confirmed_relabellings(target, candidate_exchanges(model), latents(6))) == 2


def test_nothing_is_confirmed_by_models_that_cannot_be_evaluated():
    model = peaks(2)
    space = LatentSpace.from_model(model)
    invalid = Target(space, lambda x: np.nan)
    relabellings = confirmed_relabellings(invalid, candidate_exchanges(model), latents(4))
    np.testing.assert_array_equal(relabellings, np.arange(4)[None])


def test_candidates_of_lens_models():
    """Two light bases are exchangeable in shape; a lens and its source are not."""
    bulge = al.model_util.mge_model_from(
        mask_radius=3.0, total_gaussians=4, gaussian_per_basis=2, centre_prior_is_uniform=True
    )
    lens = af.Model(al.Galaxy, redshift=0.5, bulge=bulge, mass=al.mp.Isothermal)
    source = af.Model(al.Galaxy, redshift=1.0, bulge=al.lp.Sersic)
    model = af.Collection(galaxies=af.Collection(lens=lens, source=source))
    (permutation,) = candidate_exchanges(model)
    names = LatentSpace.from_model(model).names
    moved = np.flatnonzero(permutation != np.arange(len(names)))
    assert len(moved) == 4
    assert all("lens.bulge" in names[i] and "ell_comps" in names[i] for i in moved)
    alike = af.Collection(
        galaxies=af.Collection(
            lens=af.Model(al.Galaxy, redshift=0.5, bulge=al.lp.Sersic, mass=al.mp.Isothermal),
            source=af.Model(al.Galaxy, redshift=1.0, bulge=al.lp.Sersic),
        )
    )
    assert candidate_exchanges(alike) == []


@pytest.mark.parametrize("n", [2, 3])
def test_proposal_is_invariant(n):
    """Its density is the same at every image of a point; draws visit all images equally."""
    model = peaks(n)
    relabellings = confirmed_relabellings(
        target_of(model, np.ones(n)), candidate_exchanges(model), latents(2 * n)
    )
    rng = np.random.default_rng(3)
    mixture = StudentMixture.single(np.arange(2.0 * n), 0.01 * np.eye(2 * n), 1e3)
    proposal = Proposal(mixture, relabellings)
    z = np.concatenate([mixture.sample(50, rng), latents(2 * n)])
    expected = proposal.log_pdf(z)
    for g in relabellings:
        np.testing.assert_allclose(proposal.log_pdf(z[:, g]), expected, rtol=1e-10)
    draws = proposal.sample(6000, rng)
    counts = np.unique(np.argsort(draws, axis=1) @ (10 ** np.arange(2 * n)), return_counts=True)[1]
    assert len(counts) == len(relabellings)
    assert np.all(np.abs(counts - 6000 / len(counts)) < 5 * np.sqrt(6000 / len(counts)))
    folded = proposal.folded(draws)
    assert np.all(np.abs(folded - np.arange(2.0 * n)) < 3.0)
    np.testing.assert_allclose(proposal.log_pdf(folded), proposal.log_pdf(draws), rtol=1e-10)


def test_proposal_is_normalised():
    relabellings = np.array([[0, 1], [1, 0]])
    proposal = Proposal(
        StudentMixture.single(np.array([1.0, -0.5]), np.diag([0.2, 0.5]), 6.0), relabellings
    )
    wide = StudentMixture.single(np.zeros(2), 4.0 * np.eye(2), 3.0)
    z = wide.sample(60000, np.random.default_rng(4))
    ratio = np.exp(proposal.log_pdf(z) - wide.log_pdf(z))
    assert abs(ratio.mean() - 1.0) < 4.0 * ratio.std() / np.sqrt(len(z))


def fitted(n, seed, **kwargs):
    model = peaks(n)
    return problems.run(
        target_of(model, np.ones(n)),
        seed,
        exchanges=candidate_exchanges(model),
        blocks=blocks_of(model),
        n_effective=1000,
        n_polish=2,
        **kwargs,
    )


def test_mirror_modes_have_equal_mass_and_count():
    """Half of the posterior is in either order, and the evidence is the sum of both."""
    run = fitted(2, 1)
    assert run.summary.status is Status.CONVERGED
    assert len(run.state.relabellings) == 2
    names = run.engine.target.space.names
    first, second = (run.samples[:, names.index(f"peaks.{i}.centre")] for i in range(2))
    mass, error = run.expectation((first < second).astype(float))
    assert error < 0.03
    assert abs(mass - 0.5) < 4.0 * error
    assert abs(run.summary.log_evidence - in_one_order(2, 1) - np.log(2.0)) < 0.15


def in_one_order(n, seed):
    """The log evidence of one order of the peaks: the others are impossible here."""
    target = target_of(peaks(n), np.ones(n))
    names = target.space.names
    centres = [names.index(f"peaks.{i}.centre") for i in range(n)]

    def log_likelihood(x):
        return target._log_likelihood(x) if np.all(np.diff(x[centres]) > 0.0) else -np.inf

    ordered = Target(target.space, log_likelihood, lambda x: (log_likelihood(x), gradient(x)))

    def gradient(x):
        return target._value_and_gradient(x)[1]

    run = problems.run(ordered, seed, n_effective=1000, n_polish=2)
    assert run.summary.status is Status.CONVERGED
    return run.summary.log_evidence


def test_three_exchangeable_components():
    """Six relabellings, all with a sixth of the posterior."""
    run = fitted(3, 2)
    assert run.summary.status is Status.CONVERGED
    assert len(run.state.relabellings) == 6
    names = run.engine.target.space.names
    centres = run.samples[:, [names.index(f"peaks.{i}.centre") for i in range(3)]]
    order = np.argsort(centres, axis=1) @ [100, 10, 1]
    assert len(np.unique(order)) == 6
    for which in np.unique(order):
        mass, error = run.expectation((order == which).astype(float))
        assert abs(mass - 1.0 / 6.0) < 4.0 * error
    assert abs(run.summary.log_evidence - in_one_order(3, 2) - np.log(6.0)) < 0.2
