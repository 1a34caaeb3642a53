"""Mixtures of multivariate Student-t densities: the proposal of importance sampling.

A Student-t has the heavy tails that keep importance weights bounded where a Gaussian's would
explode; a mixture bends around curved and multi-modal posteriors. Fitted to weighted samples by
the EM of population Monte Carlo (Cappe et al. 2008, Stat. Comput. 18, 447; Wraith et al. 2009,
PRD 80, 023507, equations 9-12).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, logsumexp

_EM_TOLERANCE = 1e-4
_MIN_COMPONENT_ESS = 2.0


@dataclass(frozen=True)
class StudentMixture:
    """A mixture of K Student-t densities in D dimensions.

    Parameters
    ----------
    weights
        Mixture weights, shape (K,), summing to one.
    means
        Locations, shape (K, D).
    factors
        Lower Cholesky factors of the scale matrices, shape (K, D, D).
    dofs
        Degrees of freedom of every component, shape (K,).
    """

    weights: np.ndarray
    means: np.ndarray
    factors: np.ndarray
    dofs: np.ndarray

    @property
    def dim(self) -> int:
        """The number of dimensions D."""
        return self.means.shape[1]

    @property
    def size(self) -> int:
        """The number of components K."""
        return len(self.weights)

    @classmethod
    def single(cls, mean: np.ndarray, scale: np.ndarray, dof: float) -> StudentMixture:
        """One Student-t with the scale matrix ``scale``, shape (D, D)."""
        return cls(np.ones(1), mean[None], np.linalg.cholesky(scale)[None], np.array([dof]))

    @classmethod
    def joined(cls, mixtures: list[StudentMixture], weights: np.ndarray) -> StudentMixture:
        """The mixture of mixtures with these (normalised) ``weights``."""
        weights = np.asarray(weights, dtype=float) / np.sum(weights)
        return cls(
            np.concatenate([w * m.weights for w, m in zip(weights, mixtures, strict=True)]),
            np.concatenate([m.means for m in mixtures]),
            np.concatenate([m.factors for m in mixtures]),
            np.concatenate([m.dofs for m in mixtures]),
        )

    def widened(self, factor: float) -> StudentMixture:
        """The same mixture with every scale matrix multiplied by ``factor``."""
        return StudentMixture(self.weights, self.means, self.factors * np.sqrt(factor), self.dofs)

    def with_dof(self, dof: float) -> StudentMixture:
        """The same mixture with ``dof`` degrees of freedom in every component."""
        return StudentMixture(self.weights, self.means, self.factors, np.full(self.size, dof))

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """``n`` independent draws, shape (n, D)."""
        component = rng.choice(self.size, size=n, p=self.weights)
        normal = rng.standard_normal((n, self.dim))
        dof = self.dofs[component]
        radial = np.sqrt(dof / rng.chisquare(dof))
        step = np.einsum("nij,nj->ni", self.factors[component], normal)
        return self.means[component] + radial[:, None] * step

    def component_log_pdf(self, z: np.ndarray) -> np.ndarray:
        """Log density of every component without its weight, shape (n, K)."""
        return np.stack([self._log_pdf_of(k, z)[0] for k in range(self.size)], axis=-1)

    def log_pdf(self, z: np.ndarray) -> np.ndarray:
        """Log density of the mixture at ``z``, shape (n, D) -> (n,)."""
        return logsumexp(self.component_log_pdf(z), b=self.weights, axis=-1)

    def _log_pdf_of(self, k: int, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log density and squared Mahalanobis distance of component ``k``."""
        factor, dof, d = self.factors[k], self.dofs[k], self.dim
        white = (z - self.means[k]) @ np.linalg.inv(factor).T
        distance = np.einsum("ni,ni->n", white, white)
        norm = gammaln(0.5 * (dof + d)) - gammaln(0.5 * dof) - 0.5 * d * np.log(dof * np.pi)
        log_det = np.sum(np.log(np.diag(factor)))
        return norm - log_det - 0.5 * (dof + d) * np.log1p(distance / dof), distance

    def fitted_to(
        self, z: np.ndarray, weights: np.ndarray, n_steps: int, shrinkage: float
    ) -> StudentMixture:
        """The mixture after at most ``n_steps`` of EM on weighted samples.

        Parameters
        ----------
        z
            Samples, shape (n, D).
        weights
            Their importance weights, shape (n,).
        n_steps
            EM iterations; fewer where the likelihood stops rising.
        shrinkage
            Pseudo-count of samples by which the covariance of a component is drawn towards
            the mean of all components, so a component on few samples stays regular.
        """
        weights = weights / np.sum(weights)
        mixture, before = self, -np.inf
        for _ in range(n_steps):
            mixture, now = mixture._em_step(z, weights, shrinkage)
            if now - before < _EM_TOLERANCE:
                break
            before = now
        return mixture

    def _em_step(
        self, z: np.ndarray, weights: np.ndarray, shrinkage: float
    ) -> tuple[StudentMixture, float]:
        """The next mixture and the mean log density of the samples under this one."""
        terms = [self._log_pdf_of(k, z) for k in range(self.size)]
        log_pdf = np.stack([t[0] for t in terms], axis=-1) + np.log(self.weights)
        total = logsumexp(log_pdf, axis=-1, keepdims=True)
        rho = np.exp(log_pdf - total) * weights[:, None]
        mass = rho.sum(axis=0)
        keep = [k for k in range(self.size) if _ess(rho[:, k]) >= _MIN_COMPONENT_ESS]
        if not keep:
            return self, -np.inf
        means, scales = [], []
        for k in keep:
            tau = (self.dofs[k] + self.dim) / (self.dofs[k] + terms[k][1])
            weight = rho[:, k] * tau
            mean = weight @ z / weight.sum()
            centred = z - mean
            means.append(mean)
            scales.append((weight[:, None] * centred).T @ centred / mass[k])
        # Towards what the components have in common, which is regular where one is not; the
        # covariance of all samples would also hold the distances between modes.
        pooled = np.average(scales, axis=0, weights=mass[keep])
        shares = [shrinkage / (shrinkage + _ess(rho[:, k])) for k in keep]
        factors = [
            cholesky_of((1.0 - share) * scale + share * pooled)
            for share, scale in zip(shares, scales, strict=True)
        ]
        kept = mass[keep]
        updated = StudentMixture(
            kept / kept.sum(), np.array(means), np.array(factors), self.dofs[keep]
        )
        return updated, float(weights @ total[:, 0])


def started_from(
    z: np.ndarray, weights: np.ndarray, size: int, dof: float, rng: np.random.Generator
) -> StudentMixture:
    """A mixture of ``size`` components on random weighted draws: where EM starts."""
    weights = weights / np.sum(weights)
    overall = weighted_moments(z, weights)[1]
    chosen = rng.choice(len(z), size=size, p=weights)
    # Narrower than the whole, or EM would leave all components on top of one another.
    factor = cholesky_of(overall / size ** (2.0 / z.shape[1]))
    return StudentMixture(
        np.full(size, 1.0 / size),
        z[chosen],
        np.repeat(factor[None], size, axis=0),
        np.full(size, float(dof)),
    )


def weighted_moments(z: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean, shape (D,), and covariance, shape (D, D), under normalised ``weights``."""
    mean = weights @ z
    centred = z - mean
    return mean, (weights[:, None] * centred).T @ centred


def cholesky_of(matrix: np.ndarray) -> np.ndarray:
    """Lower Cholesky factor of a symmetric matrix whose spectrum is floored to stay regular."""
    values, vectors = np.linalg.eigh(0.5 * (matrix + matrix.T))
    floor = max(values[-1] * 1e-12, 1e-24)
    return np.linalg.cholesky((vectors * np.maximum(values, floor)) @ vectors.T)


def _ess(weights: np.ndarray) -> float:
    total = np.sum(weights**2)
    return float(np.sum(weights) ** 2 / total) if total > 0.0 else 0.0
