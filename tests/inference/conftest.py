"""Small matrices are multiplied fastest by one thread, above all on a busy machine."""

import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Keep BLAS in this thread."""
    with threadpool_limits(1):
        yield
