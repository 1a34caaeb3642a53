"""The page about a run: well-formed, whole, harmless, and its script does what it says."""

import json
import os
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
    """Tags that are closed in their order, rows of the table, and where links lead."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.links, self.rows = [], [], [], []
        self.cell = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.links += [v for k, v in attributes if k in ("href", "src")]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.cell = self.rows[-1]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag in ("td", "th"):
            self.cell = None

    def handle_data(self, data):
        if self.cell is not None:
            self.cell[-1] += data


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
    head, *rows = page.rows
    assert head[:4] == ["pictures", "name", "status", "lens mass einstein_radius"]
    assert head[4:] == ["lens shear gamma_1", "log_evidence", "seconds", "flags and reasons"]
    cells = {row[1]: row for row in rows}
    assert set(cells) == {"a", "b", "c", "d", EVIL}
    assert cells["a"][2:4] == ["CONVERGED", "1.200 −0.010 +0.020"]
    assert cells["a"][7] == "PSF normalised"
    assert cells[EVIL][7] == f"no file {EVIL}"
    assert cells["d"][2:] == ["ERROR", "", "", "", "3.2", "worker died"]
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
    # One script, ours: what stood in names and reasons is text.
    assert [tag for tag, _ in page.tags].count("script") == 1
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


def test_script_sorts_filters_and_turns_pages():
    """In node, with as much of a document as the script asks for."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node")
    script = files("autolens_ml.catalogue").joinpath("page.js").read_text("utf-8")
    checks = """
    const assert = require("node:assert");
    const sorted = (v, d) => [...v].sort((a, b) => order(a, b, d));
    assert.deepEqual(sorted(["10", "9", "", "-1"], false), ["-1", "9", "10", ""]);
    assert.deepEqual(sorted(["10", "9", "", "-1"], true), ["10", "9", "-1", ""]);
    assert.deepEqual(sorted(["lens 10", "lens 9"], false), ["lens 9", "lens 10"]);
    assert(matches("A", "psf normalised x", new Set(["A"]), " PSF  x"));
    assert(!matches("A", "psf", new Set(["B"]), ""));
    assert(!matches("A", "psf", new Set(["A"]), "noise"));

    function element(more) {
      const known = { listeners: {}, attributes: {}, hidden: false, textContent: "", ...more };
      known.addEventListener = (kind, call) => { known.listeners[kind] = call; };
      known.getAttribute = (name) => known.attributes[name] ?? null;
      known.setAttribute = (name, value) => { known.attributes[name] = value; };
      known.removeAttribute = (name) => { delete known.attributes[name]; };
      return known;
    }
    const rows = Array.from({ length: 250 }, (_, i) => element({
      dataset: { status: i % 2 ? "DONE" : "ERROR" }, textContent: `Lens ${i}`,
      cells: [{ dataset: { value: String(249 - i) } }] }));
    const button = element({});
    const head = element({ querySelector: () => button });
    head.parentNode = { children: [head] };
    const boxes = ["DONE", "ERROR"].map((value) => element({ value, checked: true }));
    const named = { "#search": element({ value: "" }), "#count": element({}), "#page": element({}),
      "#before": element({}), "#after": element({}),
      "#lenses tbody": { rows, append(...r) { this.now = r; } } };
    start({
      querySelector: (name) => named[name],
      querySelectorAll: (name) => name.includes("th") ? [head] : boxes,
    });
    const shown = () => rows.filter((row) => !row.hidden).map((row) => row.textContent);
    assert.equal(shown().length, 100);
    assert.equal(named["#page"].textContent, "1 to 100");
    named["#after"].listeners.click(); named["#after"].listeners.click();
    assert.equal(named["#page"].textContent, "201 to 250");
    assert(named["#after"].disabled && !named["#before"].disabled);
    button.listeners.click();
    assert.equal(head.attributes["aria-sort"], "ascending");
    assert.equal(named["#lenses tbody"].now[0].textContent, "Lens 249");
    button.listeners.click();
    assert.equal(named["#lenses tbody"].now[0].textContent, "Lens 0");
    boxes[0].checked = false; boxes[0].listeners.change();
    assert.equal(named["#count"].textContent, "125 of 250 lenses");
    named["#search"].value = "lens 24"; named["#search"].listeners.input();
    const even = [124, 224, 24, 240, 242, 244, 246, 248];
    assert.deepEqual(shown().sort(), even.map((i) => `Lens ${i}`));
    assert.equal(named["#page"].textContent, "");
    """
    done = subprocess.run(
        [node, "-e", script + checks], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
