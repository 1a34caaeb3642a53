"""Sets on disk: made once, continued after an interruption, never mixed up."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from autolens_ml.exceptions import DataError, OptionError
from autolens_ml.training import array_store
from autolens_ml.training.array_store import stored_arrays

N, CHUNK, SEED = 10, 4, 7


def layout(n=N, dtype=np.float32):
    return {"images": ((n, 3, 2), np.float16), "truths": ((n,), dtype)}


class Made:
    """Examples that are their own numbers, made in chunks; ``ends_at`` interrupts."""

    def __init__(self, n=N, ends_at=None):
        self.n, self.ends_at, self.starts = n, ends_at, []

    def __call__(self, start):
        for first in range(start, self.n, CHUNK):
            if self.ends_at is not None and first >= self.ends_at:
                raise KeyboardInterrupt
            self.starts.append(first)
            truths = np.arange(first, min(first + CHUNK, self.n), dtype=float)
            yield {"images": np.tile(truths[:, None, None], (1, 3, 2)), "truths": truths}


def check(arrays, n=N):
    np.testing.assert_array_equal(arrays["truths"], np.arange(n))
    np.testing.assert_array_equal(arrays["images"][:, 2, 1], np.arange(n))
    assert arrays["images"].dtype == np.float16 and arrays["truths"].dtype == np.float32
    for values in arrays.values():
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 1.0


def test_made_once(tmp_path):
    made, said = Made(), []
    folder = tmp_path / "new" / "set"
    arrays = stored_arrays(folder, layout(), SEED, made, CHUNK, lambda *done: said.append(done))
    check(arrays)
    assert made.starts == [0, 4, 8] and said == [(4, 10), (8, 10), (10, 10)]
    check(stored_arrays(folder, layout(), SEED, made, CHUNK, lambda *done: said.append(done)))
    assert made.starts == [0, 4, 8] and len(said) == 3


@pytest.mark.parametrize(("ends_at", "starts"), [(0, [0, 4, 8]), (4, [4, 8]), (8, [8])])
def test_continued_after_an_interruption(tmp_path, ends_at, starts):
    with pytest.raises(KeyboardInterrupt):
        stored_arrays(tmp_path, layout(), SEED, Made(ends_at=ends_at), CHUNK)
    made = Made()
    check(stored_arrays(tmp_path, layout(), SEED, made, CHUNK))
    assert made.starts == starts


def test_a_chunk_that_is_not_whole_is_made_again(tmp_path):
    stored_arrays(tmp_path, layout(), SEED, Made(), CHUNK)
    (tmp_path / "progress.json").write_text(json.dumps({"done": 7, "seed": SEED}))
    made = Made()
    check(stored_arrays(tmp_path, layout(), SEED, made, CHUNK))
    assert made.starts == [4, 8]


def test_a_folder_belongs_to_one_set(tmp_path):
    stored_arrays(tmp_path, layout(), SEED, Made(), CHUNK, origin="spirals")
    check(stored_arrays(tmp_path, layout(), SEED, Made(), CHUNK, origin="spirals"))
    for changes, match in (
        ({"seed": 8}, f"examples of seed {SEED}, not 8: give another folder, or delete it"),
        ({"origin": "irregulars"}, "examples of origin spirals, not irregulars: give another"),
        ({"layout": layout(12)}, r"array of \(10, 3, 2\), not \(12, 3, 2\), so another set"),
        ({"layout": layout(8)}, r"array of \(10, 3, 2\), not \(8, 3, 2\), so another set"),
        ({"layout": layout(dtype=np.float64)}, "so another set: give another folder"),
    ):
        arguments = {"layout": layout(), "seed": SEED, "origin": "spirals", **changes}
        with pytest.raises(DataError, match=match):
            stored_arrays(tmp_path, made=Made(), chunk=CHUNK, **arguments)
    check(stored_arrays(tmp_path, layout(), SEED, Made(), CHUNK, origin="spirals"))


@pytest.mark.parametrize("stored", [{"done": N}, {"done": N, "seed": SEED}])
def test_sets_that_say_less_of_their_origin(tmp_path, stored):
    stored_arrays(tmp_path, layout(), SEED, Made(), CHUNK)
    (tmp_path / "progress.json").write_text(json.dumps(stored))
    check(stored_arrays(tmp_path, layout(), SEED, Made(), CHUNK, origin="spirals"))


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"seed": 7}', '{"done": "many"}'])
def test_progress_that_cannot_be_read(tmp_path, text):
    stored_arrays(tmp_path, layout(), SEED, Made(), CHUNK)
    (tmp_path / "progress.json").write_text(text)
    with pytest.raises(DataError, match=r"progress.json: not readable; delete "):
        stored_arrays(tmp_path, layout(), SEED, Made(), CHUNK)


@pytest.mark.parametrize("damage", ["missing", "cut", "foreign"])
@pytest.mark.parametrize("done", [4, N])
def test_damaged_arrays(tmp_path, damage, done):
    stored_arrays(tmp_path, layout(), SEED, Made(), CHUNK)
    (tmp_path / "progress.json").write_text(json.dumps({"done": done, "seed": SEED}))
    file = tmp_path / "images.npy"
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:40] if damage == "cut" else b"not an array")
    with pytest.raises(DataError, match=r"images.npy: missing or damaged; delete "):
        stored_arrays(tmp_path, layout(), SEED, Made(), CHUNK)


def test_a_disk_that_is_too_small(tmp_path, monkeypatch):
    disk = SimpleNamespace(disk_usage=lambda folder: SimpleNamespace(free=100))
    monkeypatch.setattr(array_store, "shutil", disk)
    with pytest.raises(OptionError, match=r"the set needs 0.0 GB, and 0.0 GB are free: give anot"):
        stored_arrays(tmp_path, layout(), SEED, Made(), CHUNK)
    assert not list(tmp_path.iterdir())
