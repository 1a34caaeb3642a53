"""Sets for finding: stored once, observed afresh."""

import numpy as np
import pytest
import torch

from autolens_ml.exceptions import DataError
from autolens_ml.networks.equivariant import _moved
from autolens_ml.simulate.finding.bands import BANDS
from autolens_ml.simulate.finding.systems import KINDS, TRUTHS, Systems
from autolens_ml.training import finding_set
from autolens_ml.training.finding_set import FindingSet, FindingSource, turned
from tests.finders import FakePopulation, fake_systems

ALL = ("J", "Y", "H", "VIS")


def rng(seed=0):
    return np.random.default_rng(seed)


def source(bands=("J",), side=66, scale=0.3, augment=False, n=12):
    return FindingSource(fake_systems(n), bands, (side, side), scale, augment)


def empty(n, level=0.0):
    images = {
        name: np.full((n, *band.instrument.shape), level, np.float16)
        for name, band in BANDS.items()
    }
    kinds = np.full(n, KINDS.index("spiral"), dtype=np.int8)
    return Systems(images, kinds, np.zeros((n, len(TRUTHS)), np.float32))


def test_a_set_is_stored_and_goes_on_where_it_was_cut_off(tmp_path):
    population, said = FakePopulation(), []
    whole = FindingSet.simulated(population, 130, 3, tmp_path / "whole", lambda *s: said.append(s))
    assert [done for done, _ in said] == [64, 128, 130]
    assert len(whole) == 130 and whole.systems.images["VIS"].dtype == np.float16
    # As if it had been cut off after the first batch.
    half = tmp_path / "half"
    progress = (tmp_path / "whole" / "progress.json").read_text()
    FindingSet.simulated(population, 130, 3, half)
    (half / "progress.json").write_text(progress.replace("130", "64"))
    np.lib.format.open_memmap(half / "J.npy", mode="r+")[64:] = 0.0
    again = FindingSet.simulated(population, 130, 3, half).systems
    for name in BANDS:
        assert np.array_equal(again.images[name], whole.systems.images[name])
    assert np.array_equal(again.kinds, whole.systems.kinds)
    with pytest.raises(DataError, match="of seed 3"):
        FindingSet.simulated(population, 130, 4, half)


@pytest.mark.parametrize(
    ("bands", "side", "scale"),
    [(("J",), 66, 0.3), (ALL, 66, 0.3), (("VIS",), 200, 0.1), (ALL, 200, 0.1)],
)
@pytest.mark.parametrize("augment", [False, True])
def test_batches_are_in_the_bands_and_on_the_grid_of_the_network(bands, side, scale, augment):
    own = source(bands, side, scale, augment)
    batch = own.batch_from(np.array([1, 3, 4]), rng())
    assert batch.images.shape == (3, len(bands), side, side)
    assert batch.images.dtype == torch.float32
    assert torch.equal(batch.labels, own.labels[[1, 3, 4]])
    # All bands see the point near the middle, those of VIS as a smaller one.
    near = round(2.0 / scale) if augment else 1
    middle = batch.images[
        ..., side // 2 - near : side // 2 + near, side // 2 - near : side // 2 + near
    ]
    assert (middle.amax((2, 3)) > 20.0).all()


def test_cutouts_for_training_are_not_quite_centred_and_others_are():
    def middles(augment):
        images = source(("VIS", "J"), 200, 0.1, augment, n=64).batch_from(np.arange(64), rng(2))
        light = images.images.nan_to_num(nan=0.0).clamp(min=70.0) - 70.0
        x = 0.1 * (torch.arange(200) - 99.5)
        total = light.sum((-2, -1))
        return torch.stack(
            ((light.sum(-1) * x).sum(-1) / total, (light.sum(-2) * x).sum(-1) / total), dim=-1
        )

    assert middles(False).abs().max() < 0.1
    off = middles(True)
    assert 0.15 < off.std() < 0.35
    # Bands move together.
    torch.testing.assert_close(off[:, 0], off[:, 1], atol=0.1, rtol=0.0)


def test_noise_is_that_of_an_empty_pixel_and_of_photons():
    for level in (0.0, 400.0):
        systems = empty(4, level)
        for name, band in BANDS.items():
            side, scale = band.instrument.shape[0], band.instrument.pixel_scale
            own = FindingSource(systems, [name], (side, side), scale, augment=False)
            images = own.batch_from(np.arange(4), rng()).images
            electrons = band.unit * band.exposure_time
            assert images.mean() == pytest.approx(level, abs=0.2)
            assert images.std() == pytest.approx(np.sqrt(1.0 + level / electrons), rel=0.03)


def test_without_augmentation_noise_alone_is_drawn():
    own, rows = source(), np.arange(4)
    assert torch.equal(own.batch_from(rows, rng(1)).images, own.batch_from(rows, rng(1)).images)
    difference = own.batch_from(rows, rng(1)).images - own.batch_from(rows, rng(2)).images
    # The bright pixels have photon noise.
    assert difference.std() == pytest.approx(np.sqrt(2.0), rel=0.1)
    assert difference.abs().max() > 10.0


def test_a_band_is_observed_as_it_is_beside_others():
    rows = np.arange(6)
    together = source(("J", "H"), augment=True).batch_from(rows, rng(4)).images
    alone = source(("H",), augment=True).batch_from(rows, rng(4)).images
    torch.testing.assert_close(together[:, 1:], alone, equal_nan=True)


def test_bands_are_turned_and_framed_together():
    own = source(ALL, 66, 0.3, augment=True, n=64)
    images = own.batch_from(np.arange(64), rng(6)).images
    missing = torch.isnan(images)
    framed = missing.any(1).any(1).any(1)
    assert 0.05 < framed.float().mean() < 0.5
    # VIS is cut at smaller pixels: a large one is there when half of it is.
    share = missing.float().mean((2, 3))
    assert (share[:, :3] == share[:, :1]).all()
    assert (share[:, 3] - share[:, 0]).abs().max() < 0.08
    # The bright pixel off the middle is at one place in all bands of NISP.
    blurred = images[:, :3].nan_to_num()
    blurred[..., 25:41, 25:41] = 0.0
    places = blurred.flatten(2).argmax(-1)[~framed]
    assert (places == places[:, :1]).all()
    # Eight orientations of whole steps off the middle.
    assert len(places[:, 0].unique()) > 8


def test_exposure_times_differ_and_are_long_in_all_bands_or_in_none():
    systems = empty(200, 50.0)
    for name in ("J", "H"):
        systems.images[name][:] = 50.0
    own = FindingSource(systems, ["J", "H"], (66, 66), 0.3, augment=True)
    images = own.batch_from(np.arange(200), rng()).images
    signal = images.nanmedian(-1).values.nanmedian(-1).values
    assert signal.max() / signal.min() > 1.5
    assert np.corrcoef(signal.T.numpy())[0, 1] > 0.95


def test_orientations():
    images = torch.randn(8, 2, 6, 6)
    moved = turned(images, np.arange(8))
    for g in range(8):
        assert torch.equal(moved[g], _moved(images[g], g))


def test_half_precision_holds_full_wells():
    brightest = max(band.full_well / band.unit for band in BANDS.values())
    assert brightest < finding_set._LARGEST < np.finfo(np.float16).max
