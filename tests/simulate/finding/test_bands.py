"""Bands: magnitudes, depths and what both cameras share."""

import numpy as np
import pytest

from autolens_ml.exceptions import OptionError
from autolens_ml.simulate.finding.bands import BANDS, bands_from


@pytest.mark.parametrize("band", BANDS.values(), ids=list(BANDS))
def test_five_magnitudes_are_a_factor_of_a_hundred(band):
    bright, faint = band.flux_from(np.array([20.0, 25.0]))
    assert bright == pytest.approx(100.0 * faint)
    # The zero point is one electron per second, of which `unit` is the noise.
    assert band.flux_from(band.zero_point) * band.unit == pytest.approx(1.0)


def test_fields_are_as_wide_in_all_bands():
    widths = {b.instrument.shape[0] * b.instrument.pixel_scale for b in BANDS.values()}
    assert max(widths) == pytest.approx(20.0) and min(widths) == pytest.approx(19.8)
    assert BANDS["VIS"].instrument.shape == (200, 200)
    assert all(BANDS[name].instrument.shape == (66, 66) for name in "YJH")


def test_depth_is_that_of_the_first_release():
    def limit(name, aperture):
        """Five times the noise within an aperture of this many arcsec across, in magnitudes."""
        band = BANDS[name]
        n_pixels = np.pi * (0.5 * aperture / band.instrument.pixel_scale) ** 2
        return band.zero_point - 2.5 * np.log10(5.0 * np.sqrt(n_pixels) * band.unit)

    assert limit("VIS", 1.0) == pytest.approx(26.5, abs=0.5)
    for name in "YJH":
        assert limit(name, 1.0) == pytest.approx(25.0, abs=0.7)


def test_bands_by_name():
    assert [band.name for band in bands_from(["H", "VIS"])] == ["H", "VIS"]
    assert [band.name for band in bands_from("J")] == ["J"]


@pytest.mark.parametrize("names", [[], ["K"], ["J", "vis"]])
def test_unknown_bands_are_refused(names):
    with pytest.raises(OptionError, match="VIS, Y, J, H"):
        bands_from(names)
