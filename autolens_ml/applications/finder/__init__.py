"""Lens finding: cut-outs in, probabilities out, and the fit of what was found."""

from autolens_ml.applications.finder.chain import FittedLens, fit_found
from autolens_ml.applications.finder.challenge import ChallengeSet, judged_on_challenge
from autolens_ml.applications.finder.find import FindReport, Found, find

__all__ = [
    "ChallengeSet",
    "FindReport",
    "FittedLens",
    "Found",
    "find",
    "fit_found",
    "judged_on_challenge",
]
