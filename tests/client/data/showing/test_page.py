"""The page for the data protection officer: what is on it, and that nothing of it can call anything or be markup."""

import base64
import hashlib
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmarks.small_study import small_terms, write_csv, write_study
from client.data.showing.bars import Distribution, Part
from client.data.showing.charts import render_distribution, render_months
from client.data.showing.thumbnails import SIDE, draw_records, is_image, write_png
from client.site.folder import SiteFolder
from privacy.study.data.tensors import Flags, Numbers
from tests.client.commands.terminal import script, site
from tests.client.data.conversion.small_source import add_rows, write_source


class Page(HTMLParser):
    """Names of elements, addresses and texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names, self.addresses, self.texts = set[str](), list[str](), list[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.addresses += [value or "" for key, value in attrs if key in ("src", "href", "action", "data")]
        assert not any(key.startswith("on") or key == "style" for key, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def show(folder: Path, *options: str) -> str:
    """The page of the study beside the site's folder."""
    site(folder, "data", "show", str(folder.parent / "study.yaml"), *options)
    return (folder / "log" / "data-small.html").read_text(encoding="utf-8")


def test_page_of_registered_files_is_private_and_calls_nothing(folder: Path) -> None:
    beside = folder.parent
    site(
        folder, "data", "add", str(beside / "study.yaml"), "--train", str(beside / "train.csv"), "--test",
        str(beside / "test.csv"),
    )  # fmt: skip
    text = show(folder)
    page = Page(text)
    assert (folder / "log" / "data-small.html").stat().st_mode & 0o777 == 0o600
    assert page.names.isdisjoint({"script", "link", "iframe", "object", "form", "base"})
    assert page.addresses == []
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"default-src &#x27;none&#x27;; style-src &#x27;sha256-{digest}&#x27;; img-src data:" in text
    told = " ".join(page.texts)
    for words in ("must not leave this site", "64 records of 64 patients", "30 records of 30 patients", "yes: yes"):
        assert words in told
    assert not re.search(r"\ba\d{1,2}\b", told)  # no patient's identifier


def test_page_of_a_mapping_shows_what_was_left_out_and_the_sources(tmp_path: Path) -> None:
    SiteFolder.create(tmp_path / "ash", "ash")
    mapping = write_source(tmp_path)
    add_rows(tmp_path, "late,40,f,perhaps")
    told = " ".join(Page(show(tmp_path / "ash", "--mapping", str(mapping))).texts)
    assert "column 'ill': has a word" in told
    assert "export.csv, row 302, ill" in told
    assert hashlib.sha256((tmp_path / "export.csv").read_bytes()).hexdigest() in told
    assert "perhaps" not in told
    assert "not registered yet" in told


def test_page_escapes_what_a_study_says(folder: Path) -> None:
    beside = folder.parent
    terms = small_terms()
    hostile = terms.model_copy(update={"purpose": "<script>alert(1)</script>"})
    write_study(beside / "study.yaml", hostile)
    text = show(folder, "--train", str(beside / "train.csv"), "--test", str(beside / "test.csv"))
    assert "script" not in Page(text).names
    assert "&lt;script&gt;" in text


def test_page_of_files_that_break_the_contract_is_refused_and_not_written(folder: Path) -> None:
    write_csv(folder.parent / "train.csv", ["p1,old,f,yes"])
    beside = folder.parent
    said = script(
        "data", "show", str(beside / "study.yaml"), "--train", str(beside / "train.csv"), "--test",
        str(beside / "test.csv"), folder=folder,
    )  # fmt: skip
    assert said.returncode == 23
    assert "column 'age': 1 rows are not a number" in said.stderr
    assert not (folder / "log" / "data-small.html").exists()


@settings(max_examples=30, deadline=None)
@given(st.sampled_from((1, 3)), st.integers(1, 40), st.integers(1, 40), st.integers(0, 1 << 30))
def test_picture_is_read_by_pillow_as_it_was_written(channels: int, height: int, width: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (channels, height, width), dtype=np.uint8)
    read = np.asarray(Image.open(io.BytesIO(write_png(pixels))))
    expected = pixels[0] if channels == 1 else pixels.transpose(1, 2, 0)
    np.testing.assert_array_equal(read, expected)


def decode(address: str) -> np.ndarray:
    """The pixels of a picture in a page."""
    assert address.startswith("data:image/png;base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.removeprefix("data:image/png;base64,")))))


def test_records_are_drawn_on_the_public_range_and_large_ones_smaller() -> None:
    tensor = Numbers(type="number", name="image", shape=(1, 256, 200), low=0, high=1000, scaled="signed")
    values = np.full((5, 1, 256, 200), 0.5, np.float32)
    drawn = draw_records(tensor, values, 12)
    assert len(drawn) == 5
    pixels = decode(drawn[0])
    assert max(pixels.shape) <= SIDE
    assert set(pixels.reshape(-1).tolist()) == {191}  # (0.5 + 1) / 2 of 255
    volume = Numbers(type="number", name="scan", shape=(1, 9, 16, 16), low=0, high=1)
    slices = np.zeros((1, 1, 9, 16, 16), np.float32)
    slices[0, 0, 4] = 1
    assert set(decode(draw_records(volume, slices, 1)[0]).reshape(-1).tolist()) == {255}


@pytest.mark.parametrize(
    ("tensor", "drawn"),
    [
        (Numbers(type="number", name="x", shape=(1, 28, 28), low=0, high=1), True),
        (Numbers(type="number", name="x", shape=(3, 28, 28), low=0, high=1), True),
        (Numbers(type="number", name="x", shape=(1, 8, 28, 28), low=0, high=1), True),
        (Numbers(type="number", name="x", shape=(48, 37), low=0, high=1), False),
        (Numbers(type="number", name="x", shape=(2, 28, 28), low=0, high=1), False),
        (Numbers(type="number", name="x", shape=(1, 4, 28), low=0, high=1), False),
        (Flags(type="flag", name="x", shape=(1, 28, 28)), False),
    ],
)
def test_tensor_is_an_image_by_its_shape(tensor: Numbers | Flags, drawn: bool) -> None:
    assert is_image(tensor) is drawn


def test_months_are_drawn_with_the_empty_ones_and_a_long_time_by_year() -> None:
    drawn = render_months({"2025-11": 3, "2026-02": 1})
    assert re.findall(r"<title>([^<]*)</title>", drawn) == [
        "2025-11: 3", "2025-12: 0", "2026-01: 0", "2026-02: 1",
    ]  # fmt: skip
    years = render_months({"1990-01": 1, "1990-07": 2, "2026-02": 5})
    titles = re.findall(r"<title>([^<]*)</title>", years)
    assert (titles[0], titles[-1], len(titles)) == ("1990: 3", "2026: 5", 37)


def test_bar_of_a_distribution_is_titled_with_its_edges_and_counts() -> None:
    part = Part((1, 0, 3), 4, missing=2, below=1)
    drawn = render_distribution(
        Distribution("age", "0 to 30", "input", "numbers", (), part, Part((0, 0, 0), 0), (0, 30), clipped=(0, 7))
    )
    assert "<title>20 to 30: 3 training, 0 held out</title>" in drawn
    assert "4 values + 0 held out; 2 + 0 missing (33.3 %); 1 + 0 below the range" in drawn
    assert "7 in the last bar were clipped to the range (both files)" in drawn
    logarithmic = Distribution("crp", "1 to 1000", "input", "numbers", (), part, part, (1, 1000), logarithm=True)
    assert "<title>10 to 100: 0 training, 0 held out</title>" in render_distribution(logarithmic)
    days = Distribution("seen", "", "input", "numbers", (), part, part, (0, 31), unit="day")
    assert "<title>1970-01-01 to 1970-01-11: 1 training" in render_distribution(days)
