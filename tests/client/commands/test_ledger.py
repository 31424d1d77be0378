"""``consilium-site ledger``: the ledger in words, on paper, and taken up again after a loss."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from client.site.folder import SiteFolder
from privacy.accounting.figures import Budget
from privacy.errors import BudgetError, LedgerError, SiteConfigError
from privacy.ledger import verify_export
from privacy.ledger.signed_head import Countersigned
from privacy.study import COORDINATOR
from tests.client.commands.terminal import SCRIPTS, grant, script, site, with_data
from tests.client.commands.test_budget import PLAN, STUDY, admitted
from tests.client.site.test_folder import admission_for
from tests.privacy.launch_makers import COORDINATOR_KEY, key_number


@pytest.fixture
def busy(folder: Path) -> Path:
    """A site that has joined, admitted a study and paid its first round."""
    home = SiteFolder(with_data(folder))
    grant(folder, epsilon="8")
    home.accept_admission(admission_for(home))
    site(folder, "approve", str(folder.parent / "study.yaml"), "--by", "Ada")
    admitted(folder, rounds=1)
    return folder


def budget(folder: Path) -> Budget:
    with SiteFolder(folder).open_ledger() as ledger:
        return ledger.read_state().find_account("small").budget


# summary ---------------------------------------------------------------------------------------------------


def test_summary_has_each_grant_and_each_study_with_what_the_ledger_charges(busy: Path) -> None:
    found = json.loads(site(busy, "ledger", "summary", "--json").stdout)
    with SiteFolder(busy).open_ledger() as ledger:
        account = ledger.read_state().find_account("small")
        expected = account.compute_committed_cost((STUDY,)).epsilon
    (study,) = found["studies"]
    assert study["epsilon"] == pytest.approx(float(expected or 0), abs=1e-3)
    assert (study["study"], study["approved_by"], study["state"]) == (STUDY, None, "open"), "the policy admitted it"
    assert (study["rounds_paid"], study["rounds_planned"]) == (1, PLAN[0].times)
    assert len(found["grants"]) == 1
    assert "was granted epsilon 8 at delta" in found["grants"][0]


def test_summary_since_a_later_day_leaves_out_what_was_over_by_then(busy: Path) -> None:
    lines = site(busy, "ledger", "summary", "--since", "2999-01-01").stdout
    assert STUDY in lines, "an open study holds its price today too"
    with SiteFolder(busy).open_ledger() as ledger:
        ledger.give_back(STUDY)
    closed = json.loads(site(busy, "ledger", "summary", "--since", "2999-01-01", "--json").stdout)
    assert (closed["grants"], closed["studies"]) == ([], [])
    (whole,) = json.loads(site(busy, "ledger", "summary", "--json").stdout)["studies"]
    assert whole["state"].startswith("finished on 2")


def test_summary_since_no_day_is_a_usage_error(busy: Path) -> None:
    done = site(busy, "ledger", "summary", "--since", "yesterday")
    assert done.exit_code == 2
    assert "'yesterday' does not match the format '%Y-%m-%d'" in done.stderr


# list ------------------------------------------------------------------------------------------------------


def test_list_has_a_line_for_every_entry(busy: Path) -> None:
    lines = site(busy, "ledger", "list").stdout.splitlines()
    with SiteFolder(busy).open_ledger() as ledger:
        entries = list(ledger.read_entries())
    assert lines[0].split() == ["entry", "time", "kind", "what"]
    assert [line.split()[:3] for line in lines[1:]] == [
        [str(entry.number), entry.time, entry.kind] for entry in entries
    ]
    assert lines[-1].endswith("sampling rate 0.5, steps 3")


def test_list_of_a_kind_and_a_study(busy: Path) -> None:
    def kinds(*options: str) -> list[str]:
        return [line.split()[2] for line in site(busy, "ledger", "list", *options).stdout.splitlines()[1:]]

    assert kinds("--kind", "grant") == ["grant"]
    assert kinds("--study", STUDY) == ["approve", "allow", "reserve"]
    assert kinds("--study", STUDY, "--kind", "reserve") == ["reserve"]
    assert kinds("--kind", "recover") == []


def test_list_as_json_holds_the_entries_themselves(busy: Path) -> None:
    found = json.loads(site(busy, "ledger", "list", "--json", "--kind", "reserve").stdout)["entries"]
    (entry,) = found
    assert entry.pop("words").startswith(f"paid round 1 of '{STUDY}'")
    with SiteFolder(busy).open_ledger() as ledger:
        (expected,) = [each for each in ledger.read_entries() if each.kind == "reserve"]
    assert entry == expected.model_dump(mode="json")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--study", "smoll"), f"the ledger names no study 'smoll'; it names: {STUDY}"),
        (("--kind", "grunt"), "'grunt' is not one of 'open'"),
    ],
)
def test_list_of_what_is_not_there_is_written_wrongly(busy: Path, options: tuple[str, ...], sentence: str) -> None:
    done = site(busy, "ledger", "list", *options)
    assert (done.exit_code, done.stdout) == (2, "")
    assert sentence in done.stderr


# export ----------------------------------------------------------------------------------------------------


def test_export_is_whole_and_names_its_head(busy: Path) -> None:
    file = busy.parent / "ash.jsonl"
    done = site(busy, "ledger", "export", str(file))
    home = SiteFolder(busy)
    state = verify_export(file, home.load_identity().public)
    with home.open_ledger() as ledger:
        assert state.head == ledger.head
    assert done.stdout == f"{state.head.hash}\n"
    assert f"wrote {state.head.number} entries" in done.stderr


def test_export_and_testimony_are_their_owners_alone_whatever_the_umask(busy: Path) -> None:
    export, testimony = busy.parent / "ash.jsonl", busy.parent / "ash-saw.jsonl"
    before = os.umask(0)
    try:
        site(busy, "ledger", "export", str(export))
        site(busy, "ledger", "testimony", "--out", str(testimony))
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in (export, testimony)] == [0o600, 0o600]


def test_export_never_overwrites(busy: Path) -> None:
    file = busy.parent / "ash.jsonl"
    file.write_text("mine")
    with pytest.raises(SiteConfigError, match=r"ash\.jsonl: cannot be written: File exists; name another file"):
        site(busy, "ledger", "export", str(file))
    assert file.read_text() == "mine"


def test_export_to_a_folder_that_is_not_there_is_a_sentence(busy: Path) -> None:
    done = script("ledger", "export", str(busy.parent / "none" / "x"), folder=busy)
    assert (done.returncode, done.stdout) == (21, "")
    assert "cannot be written: No such file or directory" in done.stderr


def test_export_that_finds_no_space_is_a_sentence_and_leaves_no_half_file(busy: Path) -> None:
    """In a process that may write no file beyond 64 KiB."""
    with SiteFolder(busy).open_ledger() as ledger:
        for number in range(60):
            ledger.record_refusal(f"study-{number}", "policy", "for many reasons, " * 100)
    file = busy.parent / "ash.jsonl"
    command = [str(SCRIPTS / "consilium-site"), "--dir", str(busy), "ledger", "export", str(file)]
    done = subprocess.run(
        ["sh", "-c", 'ulimit -f 128; exec "$@"', "sh", *command], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (21, "")
    assert "ash.jsonl: cannot be written: File too large" in done.stderr
    assert not file.exists()


# recover ---------------------------------------------------------------------------------------------------


def countersigned(folder: Path) -> Countersigned:
    """What the coordinator has seen of the ledger as it is now."""
    with SiteFolder(folder).open_ledger() as ledger:
        return Countersigned.sign(COORDINATOR_KEY, COORDINATOR, ledger.sign_head())


def lost(busy: Path) -> Countersigned:
    """The site pays another round and admits another study, the coordinator sees it; then an old copy comes back."""
    copy = busy.parent / "backup"
    shutil.copytree(busy, copy)
    with SiteFolder(busy).open_ledger() as ledger:
        ledger.reserve(STUDY, 2, PLAN[0].event)
        ledger.allow("second", "small", PLAN, "9" * 64)
        ledger.reserve("second", 1, PLAN[0].event)
    seen = countersigned(busy)
    shutil.rmtree(busy)
    shutil.copytree(copy, busy)
    return seen


def written(busy: Path, seen: Countersigned) -> str:
    path = busy.parent / "head.json"
    path.write_bytes(seen.to_bytes() + b"\n")
    return str(path)


def figures(found: Budget) -> list[str]:
    return [f"{each:.3f}" for each in (found.epsilon_spent, found.epsilon_set_aside, found.epsilon_left)]


def test_recovery_shows_what_it_charges_and_then_charges_it(busy: Path) -> None:
    before_the_loss = budget(busy)
    seen = lost(busy)
    done = site(busy, "ledger", "recover", written(busy, seen), typed="y\n")
    assert done.exit_code == 0
    assert f"the study '{STUDY}' is closed at this site: what it had set aside counts as spent" in done.stderr
    (row,) = [line.split() for line in done.stdout.splitlines()[1:]]
    after = budget(busy)
    assert row[0] == "small"
    assert row[1:4] == figures(before_the_loss)
    assert row[4:] == figures(after)
    (totals,) = seen.head.statement.accounts
    (charged,) = after.grants
    assert charged.spent >= totals.grants[0].spent + totals.grants[0].set_aside
    assert charged.set_aside == 0
    assert "recovered by entry" in done.stderr
    last = site(busy, "ledger", "list").stdout.splitlines()[-1]
    assert "recover" in last
    assert f"a witness has seen entry {seen.head.statement.number}" in last


def test_recovery_takes_the_head_that_the_site_has_kept(busy: Path) -> None:
    seen = lost(busy)
    with pytest.raises(SiteConfigError, match="this site has kept no head that its coordinator has countersigned"):
        site(busy, "ledger", "recover", "--yes")
    SiteFolder(busy).keep_witnessed(seen)
    assert site(busy, "ledger", "recover", "--yes").exit_code == 0
    with SiteFolder(busy).open_ledger() as ledger:
        assert ledger.read_state().contains(seen.head.statement.number, seen.head.statement.hash)


def test_recovery_without_a_yes_changes_nothing(busy: Path) -> None:
    file = written(busy, lost(busy))
    with SiteFolder(busy).open_ledger() as ledger:
        head = ledger.head
    for typed in ("n\n", ""):
        assert site(busy, "ledger", "recover", file, typed=typed).exit_code == 1
    with SiteFolder(busy).open_ledger() as ledger:
        assert ledger.head == head


def test_recovery_of_a_ledger_that_lost_nothing_is_refused(busy: Path) -> None:
    file = written(busy, countersigned(busy))
    with pytest.raises(LedgerError, match="is in the ledger: nothing is lost"):
        site(busy, "ledger", "recover", file, "--yes")


def test_recovery_with_a_head_that_another_countersigned_is_refused(busy: Path) -> None:
    seen = lost(busy)
    forged = Countersigned.sign(key_number(9), COORDINATOR, seen.head)
    with pytest.raises(LedgerError, match="the countersigned head cannot be believed"):
        site(busy, "ledger", "recover", written(busy, forged), "--yes")


def test_recovery_with_the_head_of_another_site_is_refused(busy: Path) -> None:
    lost(busy)
    other = SiteFolder.create(busy.parent / "birch", "birch")
    file = written(busy, countersigned(other.folder))
    with pytest.raises(LedgerError, match="the head is of the ledger of 'birch'"):
        site(busy, "ledger", "recover", file, "--yes")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(None, "cannot be read: No such file"), (b"head", "expected a JSON document"), (b"{}", "missing")],
)
def test_recovery_from_a_file_that_is_no_head_is_a_sentence(
    busy: Path, content: bytes | None, sentence: str
) -> None:
    path = busy.parent / "head.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LedgerError, match=sentence):
        site(busy, "ledger", "recover", str(path), "--yes")


def test_recovered_ledger_goes_on_with_other_studies_only(busy: Path) -> None:
    site(busy, "ledger", "recover", written(busy, lost(busy)), "--yes")
    with SiteFolder(busy).open_ledger() as ledger, pytest.raises(BudgetError, match="is closed here"):
        ledger.reserve(STUDY, 2, PLAN[0].event)
    admitted(busy, "third", rounds=1)
