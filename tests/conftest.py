"""One thread for each worker, and one store of compiled programs for all of them.

Set before numpy, torch and JAX are imported, here and in the processes that tests start.
"""

import os
from pathlib import Path

PROGRAMS = Path(__file__).parents[1] / ".pytest_cache" / "jax"

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")
# Whatever one test has compiled, no other test, worker or later run compiles again.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(PROGRAMS))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
