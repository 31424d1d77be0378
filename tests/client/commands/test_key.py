"""``consilium-site key change``."""

from pathlib import Path

from client.site.folder import SiteFolder
from client.site.key_rotation import Rotation
from tests.client.commands.terminal import grant, script, site, with_data
from tests.client.commands.test_budget import admitted


def test_key_is_changed_and_what_is_left_to_do_is_said(folder: Path) -> None:
    old = SiteFolder(folder).load_identity().public.typed
    done = site(folder, "key", "change", typed="y\n")
    new = SiteFolder(folder).load_identity().public.typed
    assert done.exit_code == 0
    assert done.stdout == f"{new}\n"
    assert new != old
    for words in ("join the coordinator again: consilium-site join --request", "peer forget ash, then peer trust"):
        assert words in done.stderr


def test_key_is_not_changed_without_a_yes(folder: Path) -> None:
    old = SiteFolder(folder).load_identity().public
    for typed in ("n\n", ""):
        done = site(folder, "key", "change", typed=typed)
        assert (done.exit_code, done.stdout) == (1, "")
    assert SiteFolder(folder).load_identity().public == old


def test_question_that_nobody_answers_ends_as_interrupted(folder: Path) -> None:
    done = script("key", "change", folder=folder)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.endswith("consilium-site: interrupted\n")
    assert "Traceback" not in done.stderr


def test_studies_in_progress_are_named_before_the_key_is_changed(folder: Path) -> None:
    with_data(folder)
    grant(folder)
    admitted(folder, rounds=1)
    done = site(folder, "key", "change", typed="n\n")
    assert (
        "the study 'small-00000000' is in progress; this site cannot continue with it under another key"
        in done.stderr
    )


def test_change_that_was_interrupted_is_finished_without_a_question(folder: Path) -> None:
    for step in Rotation(SiteFolder(folder)).steps[:2]:
        step()
    done = site(folder, "key", "change")
    assert "a change was interrupted; it is finished now" in done.stderr
    assert done.stdout == f"{SiteFolder(folder).load_identity().public.typed}\n"
