"""A proposal whose draws are thinned by a surrogate before any likelihood is paid for.

Draws of a density that is wide enough cost next to nothing. Kept with a probability that follows
the surrogate's posterior over the density, what is left is distributed nearly as the posterior,
with a density that is known: importance weights stay exact however wrong the surrogate is (the
rejection control of Liu, Chen & Wong 1998, J. Am. Stat. Assoc. 93, 1022).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import logsumexp

from autolens_ml.inference.curved import Density
from autolens_ml.inference.learning import clipped
from autolens_ml.inference.surrogate import Surrogate

# Draws that tell which share is kept.
_N_TO_SET, _N_TO_FREEZE = 2**14, 2**16
_CHUNK = 2**14
# A draw is kept for certain where the surrogate's weight is this many times the mean: the least
# of these at which the kept ones are nearly as efficient as at the largest.
_BARS = np.geomspace(1.0, 100.0, 12)
_NEARLY = 0.95
# The least share that is kept: draws are cheap, not free.
_LEAST_KEPT = 0.01
# Kept whatever the surrogate says, of those that are kept: it bounds weights where it is wrong.
_UNTHINNED_SHARE = 0.4


@dataclass(frozen=True)
class ThinnedDensity:
    """A density thinned by a surrogate.

    Parameters
    ----------
    density
        What is drawn from.
    surrogate
        What predicts log posteriors.
    bar
        Log of the surrogate's posterior over the density from which on a draw is kept.
    floor
        The least probability to be kept.
    log_kept, log_kept_error
        Log of the share that is kept, and its standard error.
    """

    density: Density
    surrogate: Surrogate
    bar: float
    floor: float
    log_kept: float
    log_kept_error: float

    @classmethod
    def made_of(
        cls, density: Density, surrogate: Surrogate, rng: np.random.Generator
    ) -> ThinnedDensity:
        """With the bar at which thinning costs least for what it gives."""
        log_ratio = _log_ratio(density, surrogate, density.sample(_N_TO_SET, rng))
        ratio = clipped(log_ratio)
        log_mean = float(logsumexp(ratio) - np.log(len(ratio)))
        weights = np.exp(ratio - log_mean)
        # Of what is kept with probability w / bar, at most one: (sum w)^2 / (sum p sum w^2 / p).
        efficiencies = [
            1.0
            / (
                np.mean(np.minimum(weights / bar, 1.0))
                * np.mean(weights * np.maximum(weights, bar))
            )
            for bar in _BARS
        ]
        enough = np.array(efficiencies) >= _NEARLY * max(efficiencies)
        bar = log_mean + float(np.log(_BARS[np.argmax(enough)]))
        # Where the surrogate is wild, a few draws would seem to be all that matters.
        bar = min(bar, float(np.quantile(log_ratio, 1.0 - _LEAST_KEPT)))
        floor = float(_UNTHINNED_SHARE * np.mean(np.exp(np.minimum(log_ratio - bar, 0.0))))
        return cls(density, surrogate, bar, floor, 0.0, 0.0)._measured(log_ratio)

    def frozen(self, rng: np.random.Generator) -> ThinnedDensity:
        """With a share that is measured as well as an evidence needs it."""
        chunks = [
            _log_ratio(self.density, self.surrogate, self.density.sample(_CHUNK, rng))
            for _ in range(_N_TO_FREEZE // _CHUNK)
        ]
        return self._measured(np.concatenate(chunks))

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """``n`` independent draws, shape (n, D)."""
        kept, missing = [], n
        while missing > 0:
            z = self.density.sample(_CHUNK, rng)
            log_ratio = _log_ratio(self.density, self.surrogate, z)
            z = z[np.log(rng.random(len(z))) < self._log_probability(log_ratio)][:missing]
            kept.append(z)
            missing -= len(z)
        return np.concatenate(kept)

    def log_pdf(self, z: np.ndarray) -> np.ndarray:
        """Log density, (n, D) -> (n,)."""
        log_pdf = self.density.log_pdf(z)
        log_ratio = self.surrogate.log_posterior(z) - log_pdf
        return log_pdf + self._log_probability(log_ratio) - self.log_kept

    def _log_probability(self, log_ratio: np.ndarray) -> np.ndarray:
        return np.maximum(np.minimum(log_ratio - self.bar, 0.0), np.log(self.floor))

    def _measured(self, log_ratio: np.ndarray) -> ThinnedDensity:
        probability = np.exp(self._log_probability(log_ratio))
        mean = float(probability.mean())
        error = float(probability.std() / mean / np.sqrt(len(probability)))
        return replace(self, log_kept=float(np.log(mean)), log_kept_error=error)


def _log_ratio(density: Density, surrogate: Surrogate, z: np.ndarray) -> np.ndarray:
    return surrogate.log_posterior(z) - density.log_pdf(z)
