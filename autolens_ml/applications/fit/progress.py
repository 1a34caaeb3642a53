"""What a fit says while it runs: a few lines instead of a library's log."""

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator

Progress = Callable[[str], None]


class _ProgressHandler(logging.Handler):
    """Turns what a search logs into lines of progress, and leaves the housekeeping out."""

    def __init__(self, say: Progress) -> None:
        super().__init__(level=logging.INFO)
        self.say = say

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage().strip().partition("\n")[0]
        # A search logs under its own name, which has no dot; compilations are logged by autofit's
        # modules.
        search = "." not in record.name and record.name != "root"
        if line and (search or record.name.startswith("autolens_ml.") or "compil" in line):
            self.say(line)


@contextlib.contextmanager
def progress_lines(say: Progress) -> Iterator[None]:
    """Log records become lines of progress; stdout is left to results.

    The search's own ``search.log`` still holds every record. Enter it after autolens is imported,
    which sets up logging.

    Parameters
    ----------
    say
        Called with one line at a time.
    """
    root = logging.getLogger()
    before = root.handlers[:]
    root.handlers = [_ProgressHandler(say)]
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        root.handlers = before
