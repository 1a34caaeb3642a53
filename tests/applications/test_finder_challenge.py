"""The layout of the Euclid lens-finding challenge, on files made here."""

import numpy as np
import pytest
import torch
from astropy.io import fits

from autolens_ml.applications.finder.challenge import ChallengeSet, judged_on_challenge
from autolens_ml.exceptions import DataError
from autolens_ml.networks import architectures
from autolens_ml.simulate.finding.lensing import LensDefinition
from tests.finders import MIDDLE, stored_finder

# ID, n_source_im, mag_eff, n_pix_source: a lens, and three that fail by one number each.
SYSTEMS = {
    200000: (1, 3.0, 150.0),
    200001: (0, 3.0, 150.0),
    200002: (2, 1.5, 150.0),
    200003: (2, 5.0, 20.0),
    200007: (4, 8.0, 900.0),
}
TABLE = "image_catalog2.0train.csv"


def write(folder, comments=0, columns="ID,x_crit,n_source_im,mag_eff,n_pix_source"):
    """Files and table as the challenge has them; lenses have bright points in the middle."""
    rng = np.random.default_rng(0)
    lines = [f"# comment {i}" for i in range(comments)]
    lines.append(f",{columns}")
    for i, (number, (n_images, magnification, n_pixels)) in enumerate(SYSTEMS.items()):
        lines.append(f"{i},{number},0.1,{n_images},{magnification},{n_pixels}")
        for band, side in {"VIS": 200, "J": 66, "Y": 66, "H": 66}.items():
            image = rng.normal(size=(side, side)).astype(np.float32)
            image[side // 2 - 1 : side // 2 + 1, side // 2 - 1 : side // 2 + 1] = (
                3000.0 if number in (200000, 200007) else 30.0
            )
            path = folder / f"EUC_{band}" / f"imageEUC_{band}-{number}.fits"
            path.parent.mkdir(parents=True, exist_ok=True)
            fits.writeto(path, image)
    (folder / TABLE).write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def challenge(tmp_path):
    return write(tmp_path / "challenge", comments=28)


def small(folder, bands=("J",), **options):
    return ChallengeSet(folder, bands, (66, 66), 0.3, **options)


def test_lenses_are_those_of_its_definition(challenge):
    systems = small(challenge)
    assert len(systems) == 5 and systems.ids.tolist() == list(SYSTEMS)
    assert systems.labels.tolist() == [1, 0, 0, 0, 1]
    strict = small(challenge, definition=LensDefinition(magnification=4.0))
    assert strict.labels.tolist() == [0, 0, 0, 0, 1]


def test_images_are_those_of_the_files_in_the_order_of_the_bands(challenge):
    batch = small(challenge, ("H", "VIS")).batch_from(np.array([1, 4]), np.random.default_rng(0))
    assert batch.images.shape == (2, 2, 66, 66) and batch.labels.tolist() == [0, 1]
    h = fits.getdata(challenge / "EUC_H" / "imageEUC_H-200007.fits")
    assert np.allclose(batch.images[1, 0], h)
    vis = fits.getdata(challenge / "EUC_VIS" / "imageEUC_VIS-200007.fits")
    binned = vis[1:199, 1:199].reshape(66, 3, 66, 3).mean(axis=(1, 3))
    assert np.allclose(batch.images[1, 1], binned, atol=1e-3)


def test_augmentation_turns_all_bands_together(challenge):
    plain = small(challenge, ("J", "H")).batch_from(np.arange(5), np.random.default_rng(1)).images
    systems = small(challenge, ("J", "H"), augment=True)
    turned = systems.batch_from(np.arange(5), np.random.default_rng(1)).images
    assert not torch.equal(plain, turned)
    for before, after in zip(plain, turned, strict=True):
        assert any(
            torch.equal(torch.rot90(b, k, (-2, -1)), after)
            for b in (before, before.flip(-1))
            for k in range(4)
        )


def test_systems_without_images_are_left_out(challenge):
    (challenge / "EUC_H" / "imageEUC_H-200001.fits").unlink()
    assert small(challenge).ids.tolist() == list(SYSTEMS)
    assert 200001 not in small(challenge, ("J", "H")).ids


def test_networks_are_judged_on_it(challenge, tmp_path, monkeypatch):
    monkeypatch.setitem(architectures.ARCHITECTURES, *MIDDLE)
    card = stored_finder(tmp_path / "network", ("J", "H"))
    found = judged_on_challenge(card, challenge)
    assert found.is_lens.tolist() == [True, False, False, False, True]
    assert found.figures["auc"]["value"] == found.figures["f1"]["value"] == 1.0


def test_the_table_may_have_any_name_and_no_comments(tmp_path):
    folder = write(tmp_path / "plain")
    (folder / TABLE).rename(tmp_path / "table.csv")
    assert len(small(folder, table=tmp_path / "table.csv")) == 5
    with pytest.raises(DataError, match="0 CSV files"):
        small(folder)


def test_bad_layouts_are_refused(challenge, tmp_path):
    with pytest.raises(DataError, match="no such file"):
        small(challenge, table=tmp_path / "none.csv")
    table = challenge / TABLE
    text = table.read_text()
    table.write_text(text.replace("mag_eff", "magnification"))
    with pytest.raises(DataError, match="no column mag_eff"):
        small(challenge)
    table.write_text(text.replace("3.0", "many"))
    with pytest.raises(DataError, match="row 1 of the systems has no mag_eff"):
        small(challenge)
    table.write_text("nothing\n")
    with pytest.raises(DataError, match="no row of column names"):
        small(challenge)
    table.write_text(text.replace("2000", "3000"))
    with pytest.raises(DataError, match="none of the systems"):
        small(challenge)
    table.write_text(text)
    (challenge / "EUC_J").rename(challenge / "J")
    with pytest.raises(DataError, match="one for each band"):
        small(challenge)


def test_bad_images_are_refused(challenge):
    systems, rng = small(challenge), np.random.default_rng(0)
    first = challenge / "EUC_J" / "imageEUC_J-200000.fits"
    fits.writeto(first, np.ones((60, 66), np.float32), overwrite=True)
    with pytest.raises(DataError, match="where the challenge has"):
        systems.batch_from(np.array([0]), rng)
    first.write_text("no FITS")
    with pytest.raises(DataError, match="not a readable FITS image"):
        systems.batch_from(np.array([0]), rng)
