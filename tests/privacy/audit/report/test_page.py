"""The page: what it says, that nothing in a ledger can break out of it, and how it looks in a browser."""

import base64
import hashlib
import itertools
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from math import ceil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from privacy.accounting import pld
from privacy.accounting.events import repeat_event
from privacy.audit.cli import cli
from privacy.audit.commands.report import read_timeline
from privacy.audit.report.charts import Span, thin_points
from privacy.audit.report.findings import Reading
from privacy.audit.report.formatting import format_percent
from privacy.audit.report.html import Markup, render_element
from privacy.audit.report.page import read_style_sheet, render_page
from privacy.audit.report.timeline import Moment, Point, Timeline
from privacy.errors import LedgerError
from privacy.keys import PublicKey
from privacy.ledger.entries import BODIES
from privacy.ledger.replay import replay
from tests.privacy.audit.report_makers import HOSTILE, long_ledger, write_year
from tests.privacy.ledger_makers import (
    KEY,
    OTHER_KEY,
    POPULATION,
    STEP,
    TOTALS,
    WITNESS,
    countersigned,
    forged,
    granted_ledger,
    plan,
    values_of,
    write_every_kind,
    write_story,
)

CHROMIUM = shutil.which("chromium")
NOBODY = PublicKey(bytes(31) + b"\1").typed
in_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="chromium is not installed; scripts/install-debian-packages does it"
)


class Reader(HTMLParser):
    """A page as a list of elements; refuses one that is not closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag in tags]


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("year") / "ledger.sqlite"
    write_year(path)
    return path


@pytest.fixture(scope="module")
def page(year: Path) -> str:
    return render_page(read_timeline(year, None)).decode("utf-8")


def command(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["report", *map(str, arguments)])


def words(page: str) -> str:
    return re.sub(r"\s+", " ", " ".join(Reader(page).text))


def test_report_is_written_for_its_reader_and_says_where(year: Path, tmp_path: Path) -> None:
    output = tmp_path / "report.html"
    result = command(year, "-o", output, "--key", OTHER_KEY.public.typed)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.startswith(f"{output}: ")
    assert output.read_bytes() == render_page(read_timeline(year, OTHER_KEY.public))


def test_report_of_the_same_ledger_is_the_same_bytes(year: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / "copy.sqlite"
    copy.parent.mkdir()
    shutil.copy(year, copy)
    assert render_page(read_timeline(copy, None)) == render_page(read_timeline(year, None))


def test_report_over_a_file_is_refused_without_force(year: Path, tmp_path: Path) -> None:
    output = tmp_path / "report.html"
    output.write_text("mine")
    refused = command(year, "-o", output)
    assert refused.exit_code == 2
    assert "--force" in refused.stderr
    assert output.read_text() == "mine"
    assert command(year, "-o", output, "--force").exit_code == 0
    assert output.read_text().startswith("<!DOCTYPE html>")


def test_report_over_the_ledger_itself_is_refused_even_with_force(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.sqlite"
    write_story(ledger)
    before = ledger.read_bytes()
    result = command(ledger, "-o", tmp_path / "." / "ledger.sqlite", "--force")
    assert result.exit_code == 2
    assert "is the ledger itself" in result.stderr
    assert ledger.read_bytes() == before


def test_report_of_a_ledger_that_does_not_hold_is_no_page(year: Path, tmp_path: Path) -> None:
    ledger_state, output = tmp_path / "ledger", tmp_path / "report.html"
    ledger_state.write_bytes(b"hello\n")
    for arguments in ([ledger_state], [year, "--key", NOBODY]):
        result = command(*arguments, "-o", output)
        assert isinstance(result.exception, LedgerError)
        assert not output.exists()


@pytest.mark.parametrize(
    "sentence",
    [
        "Privacy statement of st-marien-nord",
        "Complete up to entry 164",
        "from the ledger itself, compared with nothing",
        "The patients of stroke-2025 were trained on without privacy",
        "▲ enlarged after results were seen",
        "What the data protection officer allowed Grant Epsilon Delta Order Given By Remark",
        "No bound.",
        "Consistent in itself, not verified: no key was given.",
        "What it was about not in this file. Purpose, columns, clipping norm and who took part stand in the terms",
        "Held-out patients: not protected.",
        "the lost part of the ledger",
        "Studies that were refused and never admitted",
        "the study asks for epsilon 9, this site's policy allows 3",
        "Dr. A. Weber, data protection officer",
        "and the same patient’s data at another hospital",
        "No budget was granted for these patients.",
        "round 1 is void: 'south' vanished after sealing",
    ],
)
def test_report_of_a_bad_year_says_it(page: str, sentence: str) -> None:
    assert sentence in words(page)


def test_report_names_every_study_with_its_terms_and_models(page: str, year: Path) -> None:
    text = words(page)
    for study in read_timeline(year, None).timeline.studies.values():
        for word in (study.name, study.said.terms, *(release.model for release in study.releases)):
            assert word in text


def test_report_shows_the_figures_of_verify(page: str, year: Path) -> None:
    text = words(page)
    for budget in read_timeline(year, None).ledger.list_budgets():
        for figure in (budget.epsilon_set_aside, budget.epsilon_left):
            assert f"{figure:.4f}" in text
        if budget.epsilon_spent is not None:
            assert f"{budget.epsilon_spent:.4f}" in text


def test_report_of_an_export_that_nobody_witnessed_says_so(tmp_path: Path) -> None:
    export = tmp_path / "export.jsonl"
    with granted_ledger(tmp_path / "quiet.sqlite") as ledger:
        export.write_bytes(b"".join(ledger.export_lines()))
    reading = read_timeline(export, KEY.public)
    text = words(render_page(reading).decode())
    assert "Nobody has witnessed this ledger" in text
    assert "No incident is recorded." in text
    assert "an export, whole to its signed trailer" in text


def test_report_of_a_witnessed_ledger_with_its_key_needs_no_attention(tmp_path: Path) -> None:
    export = tmp_path / "export.jsonl"
    with granted_ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger.record_checkpoint(countersigned(ledger), WITNESS.public)
        export.write_bytes(b"".join(ledger.export_lines()))
    text = words(render_page(read_timeline(export, KEY.public)).decode())
    assert "Nothing in this ledger needs attention." in text
    assert "as it was given to the reader" in text
    assert "✓ Verified with the site’s key." in text


def test_report_of_every_kind_of_entry_counts_each(tmp_path: Path) -> None:
    write_every_kind(tmp_path / "ledger.sqlite")
    text = words(render_page(read_timeline(tmp_path / "ledger.sqlite", None)).decode()).split("Entries by kind")[1]
    assert all(re.search(rf"\b{kind} \d", text) for kind in BODIES)


def test_report_labels_a_training_with_a_filter_for_each_patient(tmp_path: Path) -> None:
    write_every_kind(tmp_path / "ledger.sqlite")
    text = words(render_page(read_timeline(tmp_path / "ledger.sqlite", None)).decode())
    assert text.count("individual Rényi filters, one site") == 1
    assert "one site: 20 steps over all patients of this site alone, of which everybody pays for 8" in text
    assert "individual-gaussian 40 everybody who can pay 20 1 1" in text
    assert "1 to train alone" in text


def test_report_names_who_decided_about_a_launch(tmp_path: Path) -> None:
    write_every_kind(tmp_path / "ledger.sqlite")
    text = words(render_page(read_timeline(tmp_path / "ledger.sqlite", None)).decode())
    assert "entry 19 Ada agreed to the launch third" in text
    assert "Approved by a person 2 Mar 2026, 08:19 entry 19 : Ada" in text
    assert "not asked for" not in text


def test_report_with_pld_stands_beside_the_filter_and_is_labelled(tmp_path: Path) -> None:
    ledger_state, output = tmp_path / "ledger.sqlite", tmp_path / "report.html"
    write_story(ledger_state)
    assert command(ledger_state, "-o", output, "--pld").exit_code == 0
    figure = pld.compute_pld_epsilon([repeat_event(STEP, 5), repeat_event(TOTALS, 2)], 1e-3)
    text = words(output.read_text())
    assert "epsilon 0.6288, enforced" in text
    assert (
        f"epsilon {ceil(figure * 1e4) / 1e4:.4f} at delta 0.001, its whole plan, exact for a study fixed in advance"
        in text
    )
    with granted_ledger(tmp_path / "two.sqlite") as ledger:
        for name in "ab":
            ledger.allow(
                name, POPULATION, [*read_timeline(ledger_state, None).timeline.studies["first"].said.plan], "3" * 64
            )
            ledger.reserve(name, 1, STEP)
    both = pld.compute_pld_epsilon([repeat_event(STEP, 2)], 1e-3)
    page = render_page(read_timeline(tmp_path / "two.sqlite", None), pld.compute_pld_epsilon).decode()
    label = "estimate across studies chosen one after another"
    assert f"epsilon {ceil(both * 1e4) / 1e4:.4f} at delta 0.001, {label}" in words(page)


def test_report_with_pld_of_a_recovered_ledger_claims_no_figure(year: Path) -> None:
    text = words(render_page(read_timeline(year, None), pld.compute_pld_epsilon).decode())
    assert "none: what the lost part of the ledger paid for is not known" in text
    assert "none: no epsilon bounds training without privacy" in text


def test_ledger_with_a_day_that_no_calendar_has_is_no_report(tmp_path: Path) -> None:
    write_story(tmp_path / "ledger.sqlite")
    values = values_of(tmp_path / "ledger.sqlite")
    values[-1]["time"] = "2026-13-01T08:00:00Z"
    with pytest.raises(LedgerError, match="entry 12 breaks the rule 'form'"):
        replay(forged(values), watch=Timeline().apply)


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 9, "0.0 %"),
        (1, 9000, "< 0.1 %"),
        (8999, 9000, "> 99.9 %"),
        (9, 9, "100.0 %"),
        (1, 3, "33.3 %"),
        (0, 0, "–"),
    ],
)
def test_share_is_never_rounded_to_nothing_or_all(part: int, whole: int, text: str) -> None:
    assert format_percent(part, whole) == text


def test_page_has_no_script_and_fetches_nothing(page: str) -> None:
    reader = Reader(page)
    tags = {tag for tag, _ in reader.elements}
    assert tags.isdisjoint({"script", "img", "link", "iframe", "object", "embed", "form", "base", "image", "use"})
    for tag, attributes in reader.elements:
        assert not any(name.startswith("on") or name in {"src", "style", "srcdoc"} for name in attributes), tag
        assert (attributes.get("href") or "#").startswith("#")
    assert not re.search(r"url\(|@import|expression|https?:", read_style_sheet())


def test_page_policy_admits_its_own_style_sheet_and_nothing_else(page: str) -> None:
    (policy,) = [each["content"] for each in Reader(page).all("meta") if "http-equiv" in each]
    inside = page.split("<style>")[1].split("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def test_page_shows_hostile_sentences_as_they_are_written(page: str) -> None:
    shown = HOSTILE.replace("\u202e", "[U+202E]").replace("\0", " ")  # which no entry holds
    assert shown in "".join(Reader(page).text)
    assert "\u202e" not in page
    assert "\0" not in page


@pytest.mark.parametrize("text", [HOSTILE, '" onclick="x', "'", "</textarea>", "\ud800", "a\nb", "&lt;"])
def test_element_with_hostile_text_is_one_element_with_that_text(text: str) -> None:
    reader = Reader(render_element("b", text, title=text))
    ((tag, attributes),) = reader.elements
    shown = "".join(reader.text)
    assert (tag, attributes) == ("b", {"title": shown})
    assert "<" not in render_element("b", text)[3:-4]


def test_element_within_an_element_is_kept_and_nothing_is_left_out_of_attributes() -> None:
    inner = render_element("i", "x")
    assert render_element("b", inner, ["&", None], class_="c", open=True, hidden=False, role=None) == (
        '<b class="c" open><i>x</i>&amp;</b>'
    )
    assert isinstance(inner, Markup)


def test_page_is_in_order_for_those_who_hear_it(page: str) -> None:
    reader = Reader(page)
    assert reader.all("html") == [{"lang": "en"}]
    levels = [int(tag[1]) for tag, _ in reader.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in itertools.pairwise(levels))
    assert all(each.get("scope") in {"col", "row"} for each in reader.all("th"))
    assert len(reader.all("caption")) == len(reader.all("table"))
    assert all(each.get("aria-label") or each.get("aria-hidden") or "viewbox" in each for each in reader.all("svg"))
    ids = [attributes["id"] for _, attributes in reader.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {(each["href"] or "")[1:] for each in reader.all("a")} <= set(ids)


def test_long_ledger_is_a_short_page() -> None:
    timeline = Timeline()
    for ledger_state, entry in long_ledger(3_000):
        timeline.apply(ledger_state, entry)
    page = render_page(Reading(ledger_state, timeline, "export", True))
    assert len(page) < 400_000


def test_thinned_points_keep_every_peak_and_the_end() -> None:
    points = [
        Point(
            Moment(n, f"2026-03-{1 + n // 86_400:02}T{n // 3600 % 24:02}:{n // 60 % 60:02}:{n % 60:02}Z"),
            9.0,
            n / 1e5,
            n / 1e5 + n % 7,
        )
        for n in range(0, 200_000, 9)
    ]
    span = Span(points[0].at.time, points[-1].at.time)
    kept = thin_points(points, span)
    assert len(kept) <= 2 * 1001 + 1
    assert (kept[0], kept[-1]) == (points[0], points[-1])
    for column in range(0, 1001, 50):
        of = [p.committed for p in points if int(span.place_moment(p.at)) == column]
        assert max(of) == max(p.committed for p in kept if int(span.place_moment(p.at)) == column)


@pytest.mark.parametrize(
    ("first", "last", "labels"),
    [
        ("2026-03-02T08:00:00Z", "2026-03-02T08:00:00Z", ["08:00:00"]),
        ("2026-03-02T08:00:07Z", "2026-03-02T08:00:11Z", ["08:00:08", "08:00:10"]),
        ("2026-03-02T08:00:10Z", "2026-03-02T08:01:08Z", ["08:00:20", "08:00:40", "08:01:00"]),
        ("2026-03-02T08:00:30Z", "2026-03-02T08:04:00Z", ["08:01", "08:02", "08:03", "08:04"]),
        ("2026-02-27T08:00:00Z", "2026-03-02T09:00:00Z", ["28 Feb", "1 Mar", "2 Mar"]),
        ("2025-11-15T08:00:00Z", "2026-03-15T08:00:00Z", ["Dec 2025", "Jan 2026", "Feb 2026", "Mar 2026"]),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z", []),
        ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", None),
    ],
)
def test_ticks_are_round_times_within_the_span(first: str, last: str, labels: list[str] | None) -> None:
    ticks = list(Span(first, last).list_ticks())
    assert all(0 <= place <= 1000 for place, _ in ticks)
    assert labels is None or [label for _, label in ticks] == labels
    assert len(ticks) <= 11


PAIRS = [
    (ink, paper)
    for ink in ("ink", "quiet", "alarm", "caution", "calm", "spent", "granted")
    for paper in ("paper", "sheet")
] + [("alarm", "alarm-paper"), ("caution", "caution-paper"), ("ink", "alarm-paper"), ("ink", "caution-paper")]


@pytest.mark.parametrize("theme", [0, 1, 2], ids=["light", "dark", "print"])
@pytest.mark.parametrize(("ink", "paper"), PAIRS)
def test_text_has_the_contrast_of_wcag_aa(theme: int, ink: str, paper: str) -> None:
    roots = re.findall(r":root \{(.*?)\}", read_style_sheet(), re.DOTALL)
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]+);", roots[theme]))
    light, dark = sorted((_luminance(colours[ink]), _luminance(colours[paper])), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def _luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * each for each in colour[1:])
    channels = [int(digits[n : n + 2], 16) / 255 for n in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and where a browser finds it."""
    handler: Callable[..., SimpleHTTPRequestHandler] = partial(_Quiet, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield tmp_path, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def browse(tmp_path: Path, url: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    assert CHROMIUM is not None
    return subprocess.run(
        [
            CHROMIUM,
            "--headless=new",
            "--no-sandbox",  # the pages are ours, and a container has no sandbox to give
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--enable-logging=stderr",
            "--virtual-time-budget=5000",
            *arguments,
            url,
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )


def complaints(browsed: "subprocess.CompletedProcess[str]") -> list[str]:
    return [line for line in browsed.stderr.splitlines() if ":CONSOLE" in line]


HARNESS = """<!DOCTYPE html><title>waiting</title><iframe src="report.html" width="{width}" height="900"></iframe>
<script>
const frame = document.querySelector("iframe");
frame.onload = () => {{
  const page = frame.contentDocument;
  for (const each of page.querySelectorAll("details")) each.open = true;
  document.title = `${{page.documentElement.scrollWidth}} of ${{frame.contentWindow.innerWidth}}, `
    + `${{page.styleSheets.length}} style sheet, ${{page.scripts.length}} scripts`;
}};
</script>"""


@in_chromium
@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_page_in_chromium_is_no_wider_than_its_window(served: tuple[Path, str], page: str, width: int) -> None:
    folder, url = served
    (folder / "report.html").write_text(page)
    (folder / "harness.html").write_text(HARNESS.format(width=width))
    browsed = browse(folder, f"{url}/harness.html", "--dump-dom")
    (title,) = re.findall("<title>(.*?)</title>", browsed.stdout)
    assert title == f"{width} of {width}, 1 style sheet, 0 scripts"
    assert complaints(browsed) == []


@in_chromium
def test_page_in_chromium_looks_otherwise_in_the_dark_and_on_a_phone(served: tuple[Path, str], page: str) -> None:
    folder, url = served
    (folder / "report.html").write_text(page)
    pictures = set()
    for size in ("1280,1600", "500,1600"):
        for scheme in ("1", "0"):
            picture = folder / f"{size}-{scheme}.png"
            browsed = browse(
                folder,
                f"{url}/report.html",
                f"--window-size={size}",
                f"--blink-settings=preferredColorScheme={scheme}",
                f"--screenshot={picture}",
            )
            assert complaints(browsed) == []
            assert picture.read_bytes().startswith(b"\x89PNG")
            pictures.add(picture.read_bytes())
    assert len(pictures) == 4


@in_chromium
def test_page_in_chromium_would_be_heard_if_it_complained(served: tuple[Path, str], page: str) -> None:
    folder, url = served
    (folder / "report.html").write_text(
        page.replace("</body>", "<script>document.title = 'broken'</script></body>")
    )
    browsed = browse(folder, f"{url}/report.html", "--dump-dom")
    assert "<title>Privacy statement of st-marien-nord</title>" in browsed.stdout
    assert any("Content Security Policy" in line for line in complaints(browsed))


def test_report_says_of_a_study_how_often_it_was_launched(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with granted_ledger(path, 9.0) as ledger:
        for launch, terms in (("0000000a", "1" * 64), ("0000000b", "1" * 64), ("0000000c", "2" * 64)):
            ledger.allow(f"hearts-{launch}", POPULATION, plan(2), terms)
            ledger.reserve(f"hearts-{launch}", 1, STEP)
            ledger.give_back(f"hearts-{launch}")
        ledger.allow("lungs-0000000d", POPULATION, plan(2), "3" * 64)
        ledger.give_back("lungs-0000000d")
        spent = ledger.read_state().find_account(POPULATION).budget.epsilon_spent
    assert command(path, "-o", tmp_path / "page.html").exit_code == 0
    page = words((tmp_path / "page.html").read_text(encoding="utf-8"))
    together = f"together epsilon {spent:.4f} at delta 0.001, at the grants' orders"
    assert page.count(f"one of 3 of this name, 2 with exactly these terms; {together}") == 2
    assert page.count(f"one of 3 of this name, 1 with exactly these terms; {together}") == 1
    assert page.count("Launches of it") == 3
