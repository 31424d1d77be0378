"""Whose replies the coordinator's process died over, as its next process knows it."""

from pathlib import Path

import pytest

from server.study.crash_marks import CrashMarks


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "handling"


def die_over(path: Path, site: str) -> None:
    """A process begins to read a reply of ``site``, and is no more."""
    CrashMarks(path).begin(site)


def handle(path: Path, *sites: str) -> None:
    handling = CrashMarks(path)
    for site in sites:
        handling.begin(site)
        handling.end()


def test_reply_that_is_handled_leaves_nothing(path: Path) -> None:
    handle(path, "ash", "birch")
    assert not path.exists()


def test_site_over_which_a_process_died_twice_is_named_once(path: Path) -> None:
    die_over(path, "ash")
    assert CrashMarks(path).take_crashing_sites() == []
    die_over(path, "ash")
    assert CrashMarks(path).take_crashing_sites() == ["ash"]
    assert CrashMarks(path).take_crashing_sites() == []


def test_other_sites_replies_change_nothing_about_a_sites_marks(path: Path) -> None:
    """After a restart everybody is asked again, and the others' answers come first."""
    die_over(path, "elm")
    handle(path, "ash", "birch")
    die_over(path, "elm")
    assert CrashMarks(path).take_crashing_sites() == ["elm"]


def test_reply_that_is_handled_after_all_forgets_a_death(path: Path) -> None:
    die_over(path, "ash")
    handle(path, "ash")
    die_over(path, "ash")
    assert CrashMarks(path).take_crashing_sites() == []


def test_error_that_is_not_the_sites_takes_back_its_mark_alone(path: Path) -> None:
    die_over(path, "ash")
    for _ in range(5):
        handling = CrashMarks(path)
        handling.begin("ash")
        handling.begin("ash")
        handling.take_back()
    assert CrashMarks(path).take_crashing_sites() == []
    die_over(path, "ash")
    assert CrashMarks(path).take_crashing_sites() == ["ash"]


def test_site_whose_reply_is_still_on_its_way_is_not_marked_for_the_next_ones(path: Path) -> None:
    handling = CrashMarks(path)
    handling.begin("ash")
    handling.begin("birch")
    assert path.read_text() == "birch\n"
