"""Simulated lenses: populations, instruments, sources.

The package is also the function: ``aml.simulate(population, n, seed)`` is
:func:`autolens_ml.simulate.population.simulate`.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autolens_ml.simulate.population import Population, SimulatedLenses


class _Simulate(ModuleType):
    def __call__(self, population: "Population", n: int, seed: int = 0) -> "SimulatedLenses":
        """Simulate ``n`` lenses of a population, all in memory."""
        from autolens_ml.simulate.population import simulate

        return simulate(population, n, seed)


sys.modules[__name__].__class__ = _Simulate
