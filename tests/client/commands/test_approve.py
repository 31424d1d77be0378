"""``consilium-site approve``: one study's terms are agreed to, and then admitted where the policy asks for it."""

import getpass
from pathlib import Path

import pytest

from benchmarks.small_study import small_terms, without_privacy, write_study
from client.site.folder import SiteFolder
from privacy.errors import LedgerError
from privacy.protocol.envelope import read_body
from privacy.protocol.messages import Join, Problem
from tests.client.commands.terminal import grant, site, with_data
from tests.simulator import Simulator


def ask_each_study(home: SiteFolder) -> None:
    path = home.folder / "site.yaml"
    path.write_text(path.read_text().replace("approval: automatic", "approval: each-study"))


def approved(folder: Path) -> bool:
    with SiteFolder(folder).open_ledger() as ledger:
        return ledger.read_state().count_approved_runs(small_terms().digest) > 0


def test_approval_shows_the_price_and_stands_in_the_ledger(folder: Path) -> None:
    with_data(folder)
    grant(folder)
    study = str(folder.parent / "study.yaml")
    done = site(folder, "approve", study, "--by", "Ada Byron")
    assert done.stdout == site(folder, "budget", "explain", study).stdout
    assert "in all" in done.stdout
    assert f"approved: the terms {small_terms().digest[:16]}, by Ada Byron" in done.stderr
    assert approved(folder)
    with SiteFolder(folder).open_ledger() as ledger:
        (entry,) = [entry for entry in ledger.read_entries() if entry.kind == "approve"]
    assert entry.body.model_dump() == {
        "terms": small_terms().digest,
        "runs": 1,
        "by": "Ada Byron",
        "account": getpass.getuser(),
    }


def test_approval_says_what_still_stands_against_the_study(folder: Path) -> None:
    done = site(folder, "approve", str(folder.parent / "study.yaml"), "--by", "Ada")
    assert "data: no data are registered under the study's contract 'small'" in done.stdout
    assert "this site would still refuse the study, for the reasons above" in done.stderr
    assert "this site's policy admits without approval; set 'approval: each-study' in site.yaml" in done.stderr


def test_approval_where_it_is_asked_for_is_no_reason_any_more(folder: Path) -> None:
    ask_each_study(SiteFolder(folder))
    study = str(folder.parent / "study.yaml")
    assert "approval: this site approves each study by hand" in site(folder, "budget", "explain", study).stdout
    done = site(folder, "approve", study, "--by", "Ada")
    assert "approval:" not in done.stdout
    assert "admits without approval" not in done.stderr
    assert "approval:" not in site(folder, "budget", "explain", study).stdout


def runs(folder: Path) -> int:
    with SiteFolder(folder).open_ledger() as ledger:
        return ledger.read_state().count_approved_runs(small_terms().digest)


def test_approval_again_changes_nothing_unless_it_is_meant_to_add(folder: Path) -> None:
    study = str(folder.parent / "study.yaml")
    site(folder, "approve", study, "--by", "Ada", "--runs", "2")
    assert (
        "an approval already that admits 2 more: nothing was"
        in site(folder, "approve", study, "--by", "Bob").stderr
    )
    assert runs(folder) == 2
    site(folder, "approve", study, "--by", "Bob", "--further")
    assert runs(folder) == 3


def test_approval_is_revoked_once_and_can_be_given_again(folder: Path) -> None:
    study = str(folder.parent / "study.yaml")
    with pytest.raises(LedgerError, match="nothing is left to revoke"):
        site(folder, "revoke", study, "--by", "Ada")
    site(folder, "approve", study, "--by", "Ada", "--runs", "5")
    site(folder, "revoke", study, "--by", "Bob")
    assert not approved(folder)
    site(folder, "approve", study, "--by", "Ada")
    assert runs(folder) == 1


def test_approval_without_privacy_says_what_it_means_and_is_not_given_unasked(folder: Path) -> None:
    terms = without_privacy()
    study = str(write_study(folder.parent / "bare.yaml", terms))
    explained = site(folder, "budget", "explain", study).stdout
    assert "they can never again be in a study with privacy" in explained
    done = site(folder, "approve", study, "--by", "Ada")
    assert (done.exit_code, "say so with --yes" in done.stderr) == (2, True)
    assert site(folder, "approve", study, "--by", "Ada", "--yes").exit_code == 0
    with SiteFolder(folder).open_ledger() as ledger:
        assert ledger.read_state().count_approved_runs(terms.digest) == 1


def test_one_approval_admits_one_launch(tmp_path: Path) -> None:
    """A coordinator launches approved terms again and again, until the grant is empty."""
    simulator = Simulator(tmp_path / "wood", small_terms())
    ask_each_study(simulator.homes["ash"])
    simulator.restart_site("ash")
    study = write_study(tmp_path / "study.yaml", small_terms())
    site(simulator.homes["ash"].folder, "approve", str(study), "--by", "Ada")
    answers = []
    for _ in range(2):
        simulator.launch()
        asked = simulator.signed("ash", Join(launch=simulator.journal.read_launch(), epoch=1))
        answers.append(read_body(simulator.sites["ash"].answer(asked)).content)
        simulator.journal.close()
    assert not isinstance(answers[0], Problem)
    assert isinstance(answers[1], Problem)
    assert answers[1].code == "approval"
    assert len(simulator.entries("ash", "allow")) == 1
    for each in simulator.sites.values():
        each.close()


def test_approval_is_of_exactly_these_terms(folder: Path) -> None:
    changed = write_study(folder.parent / "changed.yaml", small_terms(training={"rounds": 3}))
    site(folder, "approve", str(changed), "--by", "Ada")
    assert not approved(folder)


def test_approval_by_nobody_is_refused(folder: Path) -> None:
    with pytest.raises(LedgerError, match="by: expected at least 1 characters"):
        site(folder, "approve", str(folder.parent / "study.yaml"), "--by", "")
    assert not approved(folder)


def test_study_waits_for_approval_and_is_then_admitted(tmp_path: Path) -> None:
    """Through the site itself: invited, refused with the rule's code, approved at the keyboard, invited again."""
    simulator = Simulator(tmp_path / "wood", small_terms())
    ask_each_study(simulator.homes["ash"])
    simulator.restart_site("ash")
    simulator.launch()

    def invited() -> object:
        asked = simulator.signed("ash", Join(launch=simulator.journal.read_launch(), epoch=1))
        return read_body(simulator.sites["ash"].answer(asked)).content

    refused = invited()
    assert isinstance(refused, Problem)
    assert refused.code == "approval"
    assert "run: consilium-site approve STUDY.yaml --by NAME" in refused.sentence
    assert simulator.entries("ash", "allow") == []

    other = write_study(tmp_path / "other.yaml", small_terms(training={"rounds": 3}))
    site(simulator.homes["ash"].folder, "approve", str(other), "--by", "Ada")
    assert isinstance(invited(), Problem)

    study = write_study(tmp_path / "study.yaml", small_terms())
    site(simulator.homes["ash"].folder, "approve", str(study), "--by", "Ada")
    assert not isinstance(invited(), Problem)
    assert len(simulator.entries("ash", "allow")) == 1
    simulator.run()
    assert simulator.state("ash").closed
    simulator.close()
