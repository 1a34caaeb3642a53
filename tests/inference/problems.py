"""Posteriors whose evidence and moments are known, with the priors of real autofit models."""

from collections.abc import Callable
from dataclasses import dataclass

import autofit as af
import numpy as np
from scipy import stats
from scipy.integrate import quad
from scipy.special import gammaln, ndtr

from autolens_ml.inference.engine import Engine
from autolens_ml.inference.state import Settings, State, Summary
from autolens_ml.inference.target import Target
from autolens_ml.latent import LatentSpace

LN_2PI = np.log(2.0 * np.pi)


@dataclass(frozen=True)
class Problem:
    """A likelihood of physical parameters, its gradient, and what is known of the posterior."""

    priors: tuple
    log_likelihood: Callable[[np.ndarray], float]
    gradient: Callable[[np.ndarray], np.ndarray]
    log_evidence: float
    mean: np.ndarray | None = None
    covariance: np.ndarray | None = None

    @property
    def dim(self) -> int:
        return len(self.priors)

    @property
    def space(self) -> LatentSpace:
        return LatentSpace.from_model(
            af.Collection(**{f"x_{i}": prior for i, prior in enumerate(self.priors)})
        )

    def target(self, gradient: bool = True) -> Target:
        def value_and_gradient(x):
            return self.log_likelihood(x), self.gradient(x)

        return Target(self.space, self.log_likelihood, value_and_gradient if gradient else None)


@dataclass(frozen=True)
class Run:
    """A finished run."""

    engine: Engine
    state: State
    summary: Summary

    @property
    def samples(self) -> np.ndarray:
        """Physical parameters of the certified draws, shape (n, dim)."""
        return self.engine.target.space.physical_from(self.state.certified)

    @property
    def weights(self) -> np.ndarray:
        """Normalised weights of the certified draws, shape (n,)."""
        log_weights = self.state.certified_log_weights
        weights = np.exp(log_weights - log_weights.max())
        return weights / weights.sum()

    def expectation(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The posterior mean of values, shape (n, ...), and its Monte Carlo error."""
        mean = np.tensordot(self.weights, values, axes=1)
        return mean, np.sqrt(np.tensordot(self.weights**2, (values - mean) ** 2, axes=1))


def prior_draws(dim: int) -> Callable[[int, np.random.Generator], np.ndarray]:
    return lambda n, rng: rng.standard_normal((n, dim))


def engine_for(target: Target, settings: Settings, **kwargs) -> Engine:
    return Engine(target, prior_draws(target.dim), settings, **kwargs)


def run(target: Target, seed: int, *, exchanges=None, blocks=None, **settings) -> Run:
    """Run the engine to its end."""
    engine = engine_for(target, Settings(**settings), exchanges=exchanges, blocks=blocks)
    state = engine.run(State(entropy=seed))
    return Run(engine, state, engine.summary(state))


def _uniform(dim: int, low: float, high: float) -> tuple:
    return tuple(af.UniformPrior(low, high) for _ in range(dim))


def gaussian(dim: int, width: float, seed: int = 0) -> Problem:
    """A correlated Gaussian, ``width`` prior sigmas wide within a factor e, Gaussian priors."""
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    sigmas = width * np.exp(rng.uniform(-1.0, 1.0, dim))
    covariance = (rotation * sigmas**2) @ rotation.T
    precision = np.linalg.inv(covariance)
    centre = 0.7 * rng.normal(size=dim)
    means, scales = rng.normal(size=dim), np.exp(rng.normal(size=dim))
    norm = -0.5 * np.linalg.slogdet(2.0 * np.pi * covariance)[1]

    def log_likelihood(x):
        step = (x - means) / scales - centre
        return norm - 0.5 * step @ precision @ step

    def gradient(x):
        return -precision @ ((x - means) / scales - centre) / scales

    posterior = np.linalg.inv(precision + np.eye(dim))
    return Problem(
        tuple(af.GaussianPrior(m, s) for m, s in zip(means, scales, strict=True)),
        log_likelihood,
        gradient,
        stats.multivariate_normal(np.zeros(dim), covariance + np.eye(dim)).logpdf(centre),
        means + scales * (posterior @ precision @ centre),
        posterior * np.outer(scales, scales),
    )


def student(dim: int, dof: float = 3.0, scale: float = 0.3) -> Problem:
    """A multivariate Student-t well inside uniform priors."""
    norm = gammaln(0.5 * (dof + dim)) - gammaln(0.5 * dof)
    norm -= 0.5 * dim * np.log(dof * np.pi * scale**2)

    def log_likelihood(x):
        return norm - 0.5 * (dof + dim) * np.log1p(np.sum((x - 1.0) ** 2) / scale**2 / dof)

    def gradient(x):
        return -(dof + dim) * (x - 1.0) / (dof * scale**2 + np.sum((x - 1.0) ** 2))

    return Problem(
        _uniform(dim, -30.0, 30.0), log_likelihood, gradient, -dim * np.log(60.0), np.ones(dim)
    )


def two_modes(dim: int, share: float = 0.3, width: float = 0.05) -> Problem:
    """Two narrow Gaussians, ``share`` of the mass at +2 in every parameter, the rest at -2."""
    norm = -0.5 * dim * (LN_2PI + 2.0 * np.log(width))

    def terms(x):
        return np.array(
            [
                np.log(share) - 0.5 * np.sum((x - 2.0) ** 2) / width**2,
                np.log(1.0 - share) - 0.5 * np.sum((x + 2.0) ** 2) / width**2,
            ]
        )

    def log_likelihood(x):
        return norm + np.logaddexp(*terms(x))

    def gradient(x):
        t = terms(x)
        first = np.exp(t[0] - np.logaddexp(*t))
        return -(first * (x - 2.0) + (1.0 - first) * (x + 2.0)) / width**2

    mean = np.full(dim, 2.0 * (2.0 * share - 1.0))
    covariance = 16.0 * share * (1.0 - share) * np.ones((dim, dim)) + width**2 * np.eye(dim)
    return Problem(
        _uniform(dim, -10.0, 10.0),
        log_likelihood,
        gradient,
        -dim * np.log(20.0),
        mean,
        covariance,
    )


def banana(dim: int, bend: float = 0.5, width: float = 0.3) -> Problem:
    """Pairs of parameters (a, b): a is normal, b is normal about bend (a^2 - 1)."""
    assert dim % 2 == 0

    def log_likelihood(x):
        a, b = x[::2], x[1::2]
        step = (b - bend * (a**2 - 1.0)) / width
        return float(np.sum(-0.5 * a**2 - 0.5 * step**2 - LN_2PI - np.log(width)))

    def gradient(x):
        a, b = x[::2], x[1::2]
        step = (b - bend * (a**2 - 1.0)) / width
        result = np.empty(dim)
        result[::2] = -a + 2.0 * bend * a * step / width
        result[1::2] = -step / width
        return result

    variances = np.tile([1.0, 2.0 * bend**2 + width**2], dim // 2)
    return Problem(
        _uniform(dim, -10.0, 10.0),
        log_likelihood,
        gradient,
        -dim * np.log(20.0),
        np.zeros(dim),
        np.diag(variances),
    )


def at_wall(dim: int, width: float = 0.3) -> Problem:
    """A Gaussian centred on the lower limit of a uniform prior in every parameter."""

    def log_likelihood(x):
        return float(np.sum(-0.5 * (x / width) ** 2 - 0.5 * LN_2PI - np.log(width)))

    def gradient(x):
        return -x / width**2

    return Problem(
        _uniform(dim, 0.0, 20.0),
        log_likelihood,
        gradient,
        -dim * np.log(40.0),
        np.full(dim, width * np.sqrt(2.0 / np.pi)),
        width**2 * (1.0 - 2.0 / np.pi) * np.eye(dim),
    )


def beyond_limit(dim: int) -> Problem:
    """A likelihood that peaks outside the limits of truncated Gaussian priors."""
    datum, width = 2.5, 0.5  # priors N(1, 1) within 0 and 2
    total = 1.0 + width**2
    middle, sigma = (width**2 + datum) / total, width / np.sqrt(total)
    inside = stats.truncnorm(-middle / sigma, (2.0 - middle) / sigma, middle, sigma)
    mass = ndtr((2.0 - middle) / sigma) - ndtr(-middle / sigma)
    log_evidence = stats.norm(1.0, np.sqrt(total)).logpdf(datum)
    log_evidence += np.log(mass) - np.log(ndtr(1.0) - ndtr(-1.0))

    def log_likelihood(x):
        return float(np.sum(stats_log_normal(datum, x, width)))

    def gradient(x):
        return (datum - x) / width**2

    return Problem(
        tuple(af.TruncatedGaussianPrior(1.0, 1.0, 0.0, 2.0) for _ in range(dim)),
        log_likelihood,
        gradient,
        dim * log_evidence,
        np.full(dim, inside.mean()),
        inside.var() * np.eye(dim),
    )


def stats_log_normal(x, mean, sigma):
    """Log density of a normal distribution, without the overhead of scipy."""
    return -0.5 * ((x - mean) / sigma) ** 2 - 0.5 * LN_2PI - np.log(sigma)


def funnel(dim: int) -> Problem:
    """Neal's funnel: v is N(0, 1.5), the others N(0, exp(v / 2))."""

    def log_likelihood(x):
        v, others = x[0], x[1:]
        return stats_log_normal(v, 0.0, 1.5) + float(
            np.sum(-0.5 * others**2 * np.exp(-v) - 0.5 * v - 0.5 * LN_2PI)
        )

    def gradient(x):
        v, others = x[0], x[1:]
        of_v = -v / 2.25 + np.sum(0.5 * others**2 * np.exp(-v) - 0.5)
        return np.concatenate([[of_v], -others * np.exp(-v)])

    return Problem(_uniform(dim, -30.0, 30.0), log_likelihood, gradient, -dim * np.log(60.0))


# A prior of every type, its density by scipy, the datum and its error.
EVERY_PRIOR = (
    (af.UniformPrior, (-1.0, 3.0), stats.uniform(-1.0, 4.0), 0.5, 0.3),
    (af.GaussianPrior, (1.0, 2.0), stats.norm(1.0, 2.0), 2.5, 0.7),
    (af.LogUniformPrior, (0.01, 100.0), stats.loguniform(0.01, 100.0), 2.0, 0.8),
    (
        af.TruncatedGaussianPrior,
        (0.5, 1.0, 0.0, 1.5),
        stats.truncnorm(-0.5, 1.0, 0.5, 1.0),
        1.4,
        0.4,
    ),
    (af.LogGaussianPrior, (0.3, 0.5), stats.lognorm(0.5, scale=np.exp(0.3)), 1.0, 0.4),
)


def every_prior() -> Problem:
    """One parameter of every type of prior; evidence and moments by quadrature."""
    priors = tuple(kind(*args) for kind, args, *_ in EVERY_PRIOR)
    data, errors = np.array([case[3:] for case in EVERY_PRIOR]).T
    evidences, means, variances = [], [], []
    for _, _, density, datum, error in EVERY_PRIOR:
        low, high = density.support()
        low, high = max(low, datum - 12 * error), min(high, datum + 12 * error)

        def moment(power, density=density, datum=datum, error=error, low=low, high=high):
            def integrand(x):
                return x**power * density.pdf(x) * np.exp(stats_log_normal(datum, x, error))

            points = [p for p in (low + 1e-2, datum) if low < p < high]
            return quad(integrand, low, high, points=points, limit=400, epsabs=0, epsrel=1e-9)[0]

        evidence = moment(0)
        mean = moment(1) / evidence
        evidences.append(np.log(evidence))
        means.append(mean)
        variances.append(moment(2) / evidence - mean**2)

    def log_likelihood(x):
        return float(np.sum(stats_log_normal(data, x, errors)))

    def gradient(x):
        return (data - x) / errors**2

    return Problem(
        priors,
        log_likelihood,
        gradient,
        float(np.sum(evidences)),
        np.array(means),
        np.diag(variances),
    )


def log_gaussian_in(kind: str, dim: int) -> Problem:
    """A Gaussian in ln x, under log-uniform or log-Gaussian priors."""
    data, width = np.linspace(-1.0, 1.0, dim), 0.2
    if kind == "uniform":
        priors = tuple(af.LogUniformPrior(1e-3, 1e3) for _ in range(dim))
        log_evidence = -dim * np.log(6.0 * np.log(10.0))
        middle, sigma = data, width
    else:
        priors = tuple(af.LogGaussianPrior(0.5, 1.0) for _ in range(dim))
        total = 1.0 + width**2
        log_evidence = float(np.sum(stats_log_normal(data, 0.5, np.sqrt(total))))
        middle, sigma = (data + 0.5 * width**2) / total, width / np.sqrt(total)

    def log_likelihood(x):
        return float(np.sum(stats_log_normal(data, np.log(x), width)))

    def gradient(x):
        return (data - np.log(x)) / width**2 / x

    return Problem(
        priors,
        log_likelihood,
        gradient,
        log_evidence,
        np.exp(middle + 0.5 * sigma**2),
        np.diag(np.expm1(sigma**2) * np.exp(2.0 * middle + sigma**2)),
    )
