"""Many lenses: runs on Dask, one table of results, a page to look at, and the population.

Names are imported when they are first used: the command line must not wait for PyAutoLens.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "page": ["write_page"],
        "population": ["PopulationPosterior", "infer_population"],
        "posteriors": ["samples_from"],
        "runs": ["RunReport", "run"],
        "table": ["read_table"],
    },
)
