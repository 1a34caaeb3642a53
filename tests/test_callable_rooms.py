"""``aml.simulate`` and ``aml.networks``: packages that are functions, however they are imported."""

import subprocess
import sys

import pytest

# The functions themselves take seconds to import: others stand in for them.
CODE = """
import sys, types
first, second = {order!r}
exec(first)
exec(second)
population = types.ModuleType("autolens_ml.simulate.population")
population.simulate = lambda population, n, seed: (population, n, seed)
sys.modules["autolens_ml.simulate.population"] = population
checkpoint = types.ModuleType("autolens_ml.networks.checkpoint")
checkpoint.cards = lambda task: [task]
sys.modules["autolens_ml.networks.checkpoint"] = checkpoint
assert aml.simulate("population", n=3) == ("population", 3, 0)
assert aml.simulate("population", 3, seed=1) == ("population", 3, 1)
assert aml.networks() == [None]
assert aml.networks(task="lens-parameters") == ["lens-parameters"]
import autolens_ml.simulate.population as found
assert found is population
print("done")
"""
NAMES = "import autolens_ml as aml; aml.simulate, aml.networks"
PACKAGES = "import autolens_ml.simulate, autolens_ml.networks"


@pytest.mark.parametrize("order", [(NAMES, PACKAGES), (PACKAGES, NAMES)], ids=["names", "packages"])
def test_rooms_are_callable(order):
    code = CODE.format(order=order)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "done", done.stderr


def test_the_function_is_the_one_of_the_room():
    from autolens_ml import networks, simulate
    from autolens_ml.exceptions import OptionError
    from autolens_ml.networks.checkpoint import cards
    from autolens_ml.simulate.population import Population
    from tests.simulate import models

    population = Population(models.small_model(), models.SMALL_CAMERA)
    with pytest.raises(OptionError, match="must be positive, not 0"):
        simulate(population, 0)
    assert networks() == cards()
