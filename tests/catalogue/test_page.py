"""The page about a run: well-formed, whole, harmless, and its script does what it says."""

import html
import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from importlib.resources import files
from urllib.parse import unquote, urlparse

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

import autolens_ml as aml
from autolens_ml.catalogue.figures import histograms
from autolens_ml.catalogue.records import Records
from autolens_ml.exceptions import DataError

VOID = {"meta", "img", "input", "br", "link"}
RADIUS = "galaxies.lens.mass.einstein_radius"
SHEAR = "galaxies.lens.shear.gamma_1"
EVIL = '<script>alert("x")</script>&amp;'


class Page(HTMLParser):
    """Tags that are closed in their order, head and rows of the table, and where links lead."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.links, self.head = [], [], [], []
        self.data = ""
        self.feed(text)
        self.close()
        self.rows = json.loads(self.data)
        self.links += [link for row in self.rows for both in row[0] for link in both]

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.links += [v for k, v in attributes if k in ("href", "src")]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "th":
            self.head.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "th" in self.open:
            self.head[-1] += data
        if self.open and self.tags[-1] == ("script", {"type": "application/json", "id": "rows"}):
            self.data += data


def record(name, key, status="CONVERGED", reason="", radius=None, figures=(), **more):
    values = {}
    if radius is not None:
        values = {
            RADIUS: radius,
            f"{RADIUS}_error_minus": 0.01,
            f"{RADIUS}_error_plus": 0.02,
            SHEAR: 0.1 * radius,
            f"{SHEAR}_error_minus": 0.003,
            f"{SHEAR}_error_plus": 0.003,
            "log_evidence": 100.0 * radius,
        }
    known = {"try": 1, "task": "fit", "seconds": 3.2, "flags": [], "file": "none.fits"}
    return known | {
        "name": name,
        "key": key,
        "status": status,
        "reason": reason,
        "values": values,
        "figures": list(figures),
        **more,
    }


@pytest.fixture
def run(tmp_path):
    """A run of six lenses: three fitted, one with pictures, two without a result."""
    out = tmp_path / "out"
    records = Records(out)
    folder = out / "lenses" / "a"
    folder.mkdir(parents=True)
    for name in ("fit", "corner"):
        Image.fromarray(np.full((90, 120, 3), 200, dtype=np.uint8)).save(folder / f"{name} 1.png")
    (tmp_path / "secret.png").write_bytes((folder / "fit 1.png").read_bytes())
    fits.writeto(tmp_path / "b.fits", np.outer(np.arange(20.0), np.ones(30)))
    shown = ["lenses/a/fit 1.png", "lenses/a/corner 1.png", "lenses/a/gone.png"]
    records.write(record("a", "a", radius=1.2, figures=shown, flags=["PSF normalised"]))
    records.write(record("b", "b", "MARGINAL", radius=0.9, file=str(tmp_path / "b.fits")))
    records.write(record("c", "c", "FAILED", radius=1.7, figures=["../secret.png"]))
    records.write(record(EVIL, "evil-0", "ERROR", f"no file {EVIL}"))
    records.write(record("d", "d", "ERROR", "worker died"))
    (out / "run.json").write_text(json.dumps({"task": "fit", "model": EVIL, "psf": None}))
    return out


def test_page_is_well_formed_and_holds_every_lens(run):
    path = aml.catalogue.write_page(run)
    assert path == run / "report" / "index.html"
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert text.startswith("<!DOCTYPE html>")
    assert page.head[:4] == ["pictures", "name", "status", "lens mass einstein_radius"]
    assert page.head[4:] == ["lens shear gamma_1", "log_evidence", "seconds", "flags and reasons"]
    cells = {row[1]: row for row in page.rows}
    assert set(cells) == {"a", "b", "c", "d", EVIL}
    assert cells["a"][2:4] == ["CONVERGED", [1.2, 0.01, 0.02]]
    assert cells["a"][7] == "PSF normalised"
    assert cells[EVIL][7] == f"no file {EVIL}"
    assert cells["d"][2:] == ["ERROR", None, None, None, 3.2, "worker died"]
    statuses = [a["value"] for t, a in page.tags if t == "input" and a.get("type") == "checkbox"]
    assert sorted(statuses) == ["CONVERGED", "ERROR", "FAILED", "MARGINAL"]


def test_nothing_is_fetched_and_every_link_leads_to_a_file_of_the_run(run):
    for name in ("table.csv", "table.fits", "table.parquet"):
        (run / name).write_text("")
    page = Page(aml.catalogue.write_page(run).read_text(encoding="utf-8"))
    assert len(page.links) > 8
    for link in page.links:
        assert not urlparse(link).scheme
        assert not urlparse(link).netloc
        target = (run / "report" / unquote(link)).resolve()
        assert target.is_file(), link
        assert target.is_relative_to(run.resolve())
    # The rows and one script, ours: what stood in names and reasons is text.
    assert [tag for tag, _ in page.tags].count("script") == 2
    assert not any(name.startswith("on") for _, a in page.tags for name in a)


def test_pictures_are_small_and_drawn_of_data_where_there_are_none(run):
    aml.catalogue.write_page(run)
    images = run / "report" / "images"
    assert {path.name for path in images.iterdir()} == {
        "a-0.png",
        "a-1.png",
        "b.png",
        "histograms.png",
        "parameters.png",
    }
    assert Image.open(images / "a-0.png").size == (293, 220)
    drawn = np.asarray(Image.open(images / "b.png"), dtype=float)
    # Row 0 of the file is at the bottom, where it is darkest.
    assert drawn[-1].mean() < drawn[0].mean()
    before = (images / "a-0.png").stat().st_mtime_ns
    aml.catalogue.write_page(run)
    assert (images / "a-0.png").stat().st_mtime_ns == before


def test_pictures_follow_their_lenses(run, tmp_path):
    """A lens that was measured again, of another file; half a picture left by what was killed."""
    aml.catalogue.write_page(run)
    small = run / "report" / "images" / "b.png"
    before = small.read_bytes()
    fits.writeto(tmp_path / "other.fits", np.outer(np.ones(20), np.arange(30.0)))
    old = (tmp_path / "b.fits").stat().st_mtime - 100.0
    os.utime(tmp_path / "other.fits", (old, old))
    records = Records(run)
    records.write(records.read("b") | {"file": str(tmp_path / "other.fits")})
    aml.catalogue.write_page(run)
    assert small.read_bytes() != before
    assert not list(run.rglob("*.tmp"))


@pytest.mark.parametrize("kind", ["cube", "table", "nan", "strip", "axes", "text", "empty"])
def test_files_of_all_kinds_have_a_picture_or_none(run, tmp_path, kind):
    file = tmp_path / "odd.fits"
    column = fits.Column("x", "D", array=np.ones(3))
    units = {
        "cube": [fits.PrimaryHDU(np.random.default_rng(0).normal(size=(2, 20, 30)))],
        "table": [fits.PrimaryHDU(), fits.BinTableHDU.from_columns([column])],
        "nan": [fits.PrimaryHDU(np.full((8, 8), np.nan))],
        "strip": [fits.PrimaryHDU(np.zeros((1, 5000)))],
        "empty": [fits.PrimaryHDU()],
        "axes": [fits.PrimaryHDU(np.zeros((8, 8)))],
    }
    if kind == "text":
        file.write_text("no image")
    else:
        fits.HDUList(units[kind]).writeto(file)
    if kind == "axes":
        content = file.read_bytes()
        one = b"NAXIS   =                    2"
        assert one in content
        file.write_bytes(content.replace(one, b"NAXIS   =          99999999999"))
    Records(run).write(record("odd", "odd", "LENS", file=str(file)))
    page = Page(aml.catalogue.write_page(run).read_text(encoding="utf-8"))
    drawn = kind in ("cube", "nan")
    assert ("images/odd.png" in page.links) == drawn
    assert (run / "report" / "images" / "odd.png").exists() == drawn


def test_one_lens_that_is_far_off_spoils_no_histogram(tmp_path):
    values = np.append(np.random.default_rng(0).normal(size=500), -1e15)
    path = histograms({"log_evidence": values, "same": np.ones(5)}, tmp_path / "h.png")
    # Bars all over the panel, not one at its end.
    panel = np.asarray(Image.open(path).convert("RGB"), dtype=int)[:, : 360 - 20]
    blue = (panel[..., 2] > panel[..., 0] + 40).any(axis=0)
    assert blue.sum() > 100


def test_only_tables_that_are_there_are_linked(run):
    (run / "table.csv").write_text("")
    page = Page(aml.catalogue.write_page(run).read_text(encoding="utf-8"))
    assert [link for link in page.links if "table" in link] == ["../table.csv"]


def test_a_folder_of_no_run(tmp_path, run):
    with pytest.raises(DataError, match="no run of a catalogue; give the --out"):
        aml.catalogue.write_page(tmp_path)
    shutil.rmtree(run / "records")
    with pytest.raises(DataError, match="no lens is done; run the catalogue first"):
        aml.catalogue.write_page(run)


def test_script_sorts_matches_and_rounds():
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node")
    script = files("autolens_ml.catalogue").joinpath("page.js").read_text("utf-8")
    checks = """
    const assert = require("node:assert");
    const sorted = (v, d) => [...v].sort((a, b) => order(a, b, d));
    assert.deepEqual(sorted([10, 9, null, -1], false), [-1, 9, 10, null]);
    assert.deepEqual(sorted([10, 9, null, -1], true), [10, 9, -1, null]);
    assert.deepEqual(sorted(["lens 10", "", "lens 9"], false), ["lens 9", "lens 10", ""]);
    assert(matches("A", "psf normalised x", new Set(["A"]), " PSF  x"));
    assert(!matches("A", "psf", new Set(["B"]), ""));
    assert(!matches("A", "psf", new Set(["A"]), "noise"));
    assert.equal(shown([1.2, 0.01, 0.02]), "1.200 \u22120.010 +0.020");
    assert.equal(shown([1234.5, 20, 30]), "1235 \u221220 +30");
    assert.equal(shown([1.5, 0, 0]), "1.5000 \u22120.0000 +0.0000");
    assert.equal(shown(3.14159), "3.142");
    assert.equal(shown(null), "");
    assert.equal(key([1.2, 0.01, 0.02]), 1.2);
    """
    done = subprocess.run(
        [node, "-e", script + checks], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


# What somebody does with the page, and what the page then shows.
CLICKS = """
<script>
const seen = [];
const see = () => seen.push([
  document.querySelectorAll("#lenses tbody tr").length,
  document.querySelector("#lenses tbody tr").cells[1].textContent,
  document.querySelector("#count").textContent,
  document.querySelector("#page").textContent,
  document.querySelector("#before").disabled, document.querySelector("#after").disabled]);
const click = (name) => document.querySelector(name).click();
see();
click("#after"); click("#after"); see();
click("th:nth-child(4) button"); see();
click("th:nth-child(4) button"); see();
click("input[value=CONVERGED]"); see();
const search = document.querySelector("#search");
search.value = "lens 24"; search.dispatchEvent(new Event("input")); see();
document.body.setAttribute("data-seen", JSON.stringify(seen));
</script>
"""


def test_a_browser_sorts_filters_and_turns_pages(run, tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no browser")
    shutil.rmtree(run / "records")
    records = Records(run)
    for i in range(250):
        status = "FAILED" if i % 2 else "CONVERGED"
        records.write(record(f"lens {i}", f"lens-{i:03d}", status, radius=1.0 + 0.001 * (249 - i)))
    path = aml.catalogue.write_page(run)
    path.write_text(path.read_text("utf-8").replace("</body>", f"{CLICKS}</body>"), "utf-8")
    done = subprocess.run(
        [
            browser,
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
            *("--disable-sync", f"--user-data-dir={tmp_path / 'browser'}", "--dump-dom"),
            path.as_uri(),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    found = re.search('data-seen="([^"]*)"', done.stdout)
    assert json.loads(html.unescape(found[1])) == [
        [100, "lens 0", "250 of 250 lenses", "1 to 100", True, False],
        [50, "lens 200", "250 of 250 lenses", "201 to 250", False, True],
        [100, "lens 249", "250 of 250 lenses", "1 to 100", True, False],
        [100, "lens 0", "250 of 250 lenses", "1 to 100", True, False],
        [100, "lens 1", "125 of 250 lenses", "1 to 100", True, False],
        [5, "lens 241", "5 of 250 lenses", "", True, True],
    ]
