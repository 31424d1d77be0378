"""The page of a feasibility study: one file without network, every figure with its error, hidden ones said to be so."""

import re
from typing import Any

import numpy as np
import pytest

from client.training.statistics import count_statistics
from models.tasks.statistics_document import Statistics, describe_statistics
from server.feasibility.charts import render_bar
from server.feasibility.page import render_page
from tests.models.tasks.test_statistics import FEDERATION, SITES
from tests.statistics_study import ASKED, statistics_terms


def make_document(epsilon: float, **changes: Any) -> Statistics:
    terms = statistics_terms(privacy={"epsilon": epsilon}, **changes)
    counts = np.sum([count_statistics([each], terms) for each in FEDERATION], axis=0)
    return describe_statistics("small-feasibility-12345678", terms, [int(each) for each in counts], SITES)


def read_words(page: bytes) -> str:
    text = re.sub(r"<style>.*?</style>", "", page.decode("utf-8"), flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", text).split())


def test_page_shows_each_figure_with_its_error() -> None:
    found = make_document(20)
    words = read_words(render_page(found))
    assert f"{found.patients.value:,.0f} (± {found.patients.error:,.0f}) patients at 4 sites together" in words
    for column in found.columns:
        for count in column.counts:
            assert f"{count.patients:,.0f} ± {count.error:,.0f}" in words
    age = found.columns[1]
    assert age.mean is not None
    assert f"{age.mean.value:.4g} (± {age.mean.error:.2g})" in words
    assert "age: sites differ, by more than noise and chance explain." in words


def test_page_of_much_noise_says_what_is_hidden() -> None:
    words = read_words(render_page(make_document(0.05)))
    assert "hidden by the noise" in words
    assert "age: the noise hides whether sites differ" in words


def test_page_reaches_for_nothing_outside_and_runs_nothing() -> None:
    page = render_page(make_document(1)).decode("utf-8")
    assert "default-src &#x27;none&#x27;" in page
    assert not re.search(r"<script|<link|<img|https?:|url\(|@import|\son\w+=|style=", page)
    assert page.count("<svg") > 15


def test_page_writes_names_as_text_never_as_markup() -> None:
    terms = statistics_terms(purpose="<script>alert(1)</script>")
    counts = [int(each) for each in count_statistics([FEDERATION[0]], terms)]
    page = render_page(describe_statistics("small-feasibility-12345678", terms, counts, SITES)).decode("utf-8")
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_page_of_the_same_document_is_the_same_bytes() -> None:
    assert render_page(make_document(1)) == render_page(make_document(1))


def test_page_without_pairs_and_differences_has_no_such_parts() -> None:
    words = read_words(render_page(make_document(1, task={**ASKED, "pairs": [], "differences": []})))
    assert "Correlations" not in words
    assert "Do sites differ?" not in words


@pytest.mark.parametrize(
    ("value", "error", "bar", "ends"),
    [
        (5, 2, (50, 25), (65, 85)),
        (-5, 2, (25, 25), (15, 35)),
        (40, 2, (50, 50), (100, 100)),
        (0, 0, (50, 0), (50, 50)),
    ],
)
def test_bar_begins_at_zero_and_is_cut_off_at_the_axis(
    value: float, error: float, bar: tuple[float, float], ends: tuple[float, float]
) -> None:
    drawn = render_bar(value, error, -10, 10)
    assert f'class="bar" x="{bar[0]:.2f}%" y="20%" width="{bar[1]:.2f}%"' in drawn
    assert f'class="error" x1="{ends[0]:.2f}%" x2="{ends[1]:.2f}%"' in drawn
