"""From a file to figures, animations and maps; and the command."""

import json

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image
from typer.testing import CliRunner

from autolens_ml.applications.finder.cutouts import Candidate, cutout_from
from autolens_ml.cli import app
from autolens_ml.exceptions import DataError, OptionError
from autolens_ml.explain import Options, explain_file
from autolens_ml.explain.run import EXPLANATIONS, _on_file
from autolens_ml.networks.checkpoint import save_network
from tests.explain.known import cutout, made
from tests.finders import card_fields

# Of what is chosen, to be quick.
OPTIONS = Options(window=6, steps=3, draws=2, kernels=(0, 5), seed=1)


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    network = made("DihedralFinder", 2, widths=(4,))
    fields = card_fields(network, "small", ("J", "H"))
    folder = tmp_path_factory.mktemp("network")
    return save_network(folder, fields, network.state_dict(), "float32").path


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Wider than the network's images in one direction, narrower in the other."""
    path = tmp_path_factory.mktemp("stamps") / "lens.fits"
    image = np.nan_to_num(cutout(2, 30))[:, 5:25, :]
    units = [fits.PrimaryHDU()]
    for band, plane in zip(("J", "H"), image, strict=True):
        units.append(fits.ImageHDU(plane, fits.Header({"PIXSCALE": 0.1}), name=f"NIR_{band}"))
    fits.HDUList(units).writeto(path)
    return path


@pytest.mark.parametrize("method", EXPLANATIONS)
def test_every_method_makes_its_files(method, card, file, tmp_path):
    said = []
    report = explain_file(
        file,
        network=card,
        method=method,
        output=tmp_path / "new",
        options=OPTIONS,
        progress=said.append,
    )
    names = [path.name for path in report.files]
    assert names[:2] == [f"lens-{method}.png", f"lens-{method}.gif"]
    with Image.open(report.files[0]) as figure, Image.open(report.files[1]) as animation:
        assert len(np.unique(np.asarray(figure.convert("L")))) > 10
        frames = set()
        for i in range(animation.n_frames):
            animation.seek(i)
            frames.add(animation.convert("RGB").tobytes())
        assert len(frames) >= 3
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(names)
    assert 0.0 < report.probability < 1.0 and "probability of a lens" in said[0]
    assert json.loads(json.dumps(report.as_dict()))["method"] == method
    assert all(name in str(report) for name in names)
    if len(names) == 3:
        with fits.open(report.files[2]) as units:
            assert units[0].header["METHOD"] == method and units[0].header["NETWORK"] == "small"
            planes = {unit.name: unit.data for unit in units[1:]}
        if method in ("occlusion", "grad-cam"):
            assert list(planes) == ["ALL"] and planes["ALL"].shape == (20, 30)
        elif "guided" in method:
            assert list(planes) == ["J", "H"] and planes["H"].shape == (20, 30)
        else:
            n = 2 if method == "excite" else 1
            assert list(planes) == [f"{band}_{i}" for i in range(n) for band in "JH"]
            assert planes["J_0"].shape == (24, 24)
    if method == "sanity":
        assert set(report.figures) == {
            "occlusion",
            "grad-cam",
            "guided-backprop",
            "guided-grad-cam",
        }


@pytest.mark.parametrize("scale", [0.1, 0.3])
def test_maps_are_in_the_pixels_of_the_file(file, tmp_path, scale):
    side = 20
    path = tmp_path / "one.fits"
    values = np.zeros((side, side + 4), dtype=np.float32)
    values[12, 9] = 1.0
    fits.writeto(path, values, fits.Header({"PIXSCALE": scale}))
    seen = cutout_from(Candidate("one", {"": path}), ("J",), (60, 60), 0.1)
    found = _on_file(np.nan_to_num(seen), path, ("J",), 0.1, None)
    back, own = found["J"]
    assert own == scale and back.shape == values.shape
    # Of 6" that the network sees, the larger pixels reach beyond in two columns at either end.
    seen_alone = np.isfinite(back)
    assert back[seen_alone] == pytest.approx(values[seen_alone], abs=1e-6)
    assert seen_alone[:, 2:-2].all() and seen_alone[:, :2].all() == (scale == 0.1)


def test_bad_input_is_refused(card, file, tmp_path):
    with pytest.raises(OptionError, match="choose occlusion, grad-cam"):
        explain_file(file, network=card, method="magic", output=tmp_path)
    with pytest.raises(DataError, match="no such file"):
        explain_file(tmp_path / "none.fits", network=card, output=tmp_path / "x")
    assert not (tmp_path / "x").exists()
    for options, words in (
        ({"of": "star"}, "choose lens or no-lens"),
        ({"seed": -1}, "--seed"),
        ({"pixel_scale": 0.0}, "--pixel-scale"),
    ):
        with pytest.raises(OptionError, match=words):
            Options(**options)


def invoke(*words):
    return CliRunner().invoke(app, ["explain", *map(str, words)])


def test_the_command(card, file, tmp_path):
    out = tmp_path / "out"
    result = invoke(
        *(file, "--network", card, "--method", "occlusion", "--out", out, "--window", "6"),
        *("--by-band", "--class", "no-lens", "--json"),
    )
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["network"] == "small" and len(report["files"]) == 3
    with fits.open(out / "lens-occlusion.fits") as units:
        assert [unit.name for unit in units[1:]] == ["J", "H"]
        assert units[0].header["CLASS"] == "no-lens"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--method", "magic"], "magic"),
        (["--network", "nothing"], "nothing"),
        (["--network", "euclid-sie"], "lens-finding"),
        (["--method", "excite", "--layer", "77"], "no layer 77"),
        (["--method", "excite", "--kernel", "9999"], "no kernel 9999"),
        (["--window", "99"], "windows of 99"),
        (["--class", "star"], "star"),
        (["--method", "class-image", "--steps", "0"], "n_steps"),
        (["--method", "sanity", "--draws", "1"], "n_draws"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(words, says, card, file, tmp_path):
    if "--network" not in words:
        words = ["--network", str(card), *words]
    result = invoke(file, *words, "--out", tmp_path / "out")
    assert result.exit_code == 2
    last = result.stderr.strip().splitlines()
    errors = [line for line in last if line.startswith("error: ")]
    assert len(errors) == 1 and says in errors[0] and last[-1] == errors[0]


def test_a_missing_file(card, tmp_path):
    result = invoke(tmp_path / "none.fits", "--network", card)
    assert result.exit_code == 2 and "no such file" in result.stderr


def test_help_has_an_example():
    result = invoke("--help")
    assert "Example: autolens-ml explain" in " ".join(result.stdout.split())
