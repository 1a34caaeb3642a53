"""What can be wrong with a user's input.

Every message is one line: what was found, where, and what to change.
"""


class AutolensMLError(Exception):
    """Base of the errors that a user can mend; the command line prints them and exits with 2."""


class DataError(AutolensMLError):
    """A dataset that cannot be fitted as it is (missing file, wrong shape, bad noise, no PSF)."""


class ModelError(AutolensMLError):
    """A model that cannot be made, read, or fitted."""


class OptionError(AutolensMLError):
    """An option with a value that means nothing here."""


class DataWarning(UserWarning):
    """Data that were changed or reinterpreted to be fitted (a PSF that was normalised)."""


class NetworkError(AutolensMLError):
    """A network that is not known, or whose weights cannot be trusted."""
