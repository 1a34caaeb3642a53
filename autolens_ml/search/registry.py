"""Registry entries of this package's searches, in autofit's own manifest format.

autofit has no hook for searches of other packages, so registration is opt-in: ``register()``
adds the entries to autofit's registry for this process; nothing happens on import.
"""

from __future__ import annotations

from typing import Any

import autofit as af
from autofit.non_linear.search import registry
from autofit.non_linear.search.registry import RegistryEntry

# What is declared of both; autofit compares declarations with the classes.
_SHARED = {
    "jax_use": "optional",
    "gradient": "uses",
    "batched": False,
    "honours_gradient_mode": False,
    "posterior_kind": "weighted",
    "produces_evidence": True,
    "resumable": True,
    "warm_start": "provider",
    "install_extra": "",
    "upstream_url": "",
    "citation_keys": [],
    "status": "experimental",
    "objective_target": {"quantity": "log_likelihood", "space": "unit_cube"},
    "invalid_value": "-1e+99",
    "checkpointer": "dill",
    "requires_fp64": True,
}


def _entry(name: str, test_mode_budget: dict[str, int]) -> RegistryEntry:
    return RegistryEntry(
        name=name,
        class_path=f"autolens_ml.search.{name.lower()}.{name}",
        family="nest",
        lazy=True,
        requires=("autolens_ml",),
        capabilities={**_SHARED, "test_mode_budget": test_mode_budget},
    )


_ENTRIES = (
    _entry(
        "CNN",
        {"n_effective": 20, "n_draws": 16, "n_polish": 1, "max_likelihood_calls": 1000},
    ),
    _entry(
        "RIM",
        {
            "n_effective": 20,
            "n_starts": 2,
            "n_steps": 10,
            "n_draws": 16,
            "n_polish": 1,
            "max_likelihood_calls": 1000,
        },
    ),
)


def search_entries() -> tuple[RegistryEntry, ...]:
    """The registry entries of the searches of this package."""
    return _ENTRIES


def register() -> None:
    """Add this package's searches to autofit's registry and namespace, for this process.

    Afterwards ``af.CNN`` is ``aml.CNN`` and autofit's manifest lists it. Calling it twice
    changes nothing.
    """
    known = {entry.name for entry in registry.SEARCHES}
    for entry in _ENTRIES:
        if entry.name in known:
            continue
        registry.SEARCHES = (*registry.SEARCHES, entry)
        module, _, qualname = entry.class_path.rpartition(".")
        af._LAZY_ATTRS.setdefault(entry.name, (module, qualname))


def manifest() -> dict[str, Any]:
    """autofit's search manifest with this package's searches in it."""
    register()
    return registry.manifest()
