"""``consilium-site approve`` and ``refuse``: people decide about a study that waits, and ahead of a launch."""

import getpass
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result

from benchmarks.small_study import small_terms, without_privacy, write_study
from client.site.folder import SiteFolder
from privacy.errors import LedgerError, RefusedError, SiteConfigError
from privacy.ledger.entries import Admits
from privacy.protocol.messages import Join, Joined, Waiting
from server.study.state import Phase
from tests.client.commands.terminal import at_terminal, grant, site, with_data
from tests.simulator import Simulator, change_policy


def approved(folder: Path) -> bool:
    with SiteFolder(folder).open_ledger() as ledger:
        return ledger.read_state().count_approved_runs(small_terms().digest, Admits.LAUNCH) > 0


def test_approval_shows_the_price_and_stands_in_the_ledger(folder: Path) -> None:
    with_data(folder)
    grant(folder)
    study = str(folder.parent / "study.yaml")
    done = site(folder, "approve", study, "--by", "Ada Byron")
    assert done.stdout.endswith(site(folder, "budget", "explain", study).stdout)
    shown = " ".join(done.stdout.split())
    for words in (
        "purpose a test",
        "predicts ",
        "trains logistic",
        "from ",
        "the model goes to",
        "not protected test",
    ):
        assert words in shown
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
        "admits": "launch",
    }


def test_approval_says_what_still_stands_against_the_study(folder: Path) -> None:
    done = site(folder, "approve", str(folder.parent / "study.yaml"), "--by", "Ada")
    assert "data: no data are registered under the study's contract 'small'" in done.stdout
    assert "this site would still refuse the study, for the reasons above" in done.stderr


def test_approval_is_what_a_study_waits_for(folder: Path) -> None:
    with_data(folder)
    grant(folder)
    change_policy(SiteFolder(folder), unprotected_test_patients=True)
    study = str(folder.parent / "study.yaml")
    before = site(folder, "budget", "explain", study).stdout
    assert "this site would admit it once a person has agreed" in before
    site(folder, "approve", study, "--by", "Ada")
    assert "this site would admit it\n" in site(folder, "budget", "explain", study).stdout
    change_policy(SiteFolder(folder), persons=2)
    done = site(folder, "approve", study, "--by", "Ada", "--further")
    assert "this site's policy asks for a second person" in done.stderr


def runs(folder: Path) -> int:
    with SiteFolder(folder).open_ledger() as ledger:
        return ledger.read_state().count_approved_runs(small_terms().digest, Admits.LAUNCH)


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


@pytest.mark.parametrize(("answer", "given"), [("n", 0), ("y", 2)])
def test_person_at_a_terminal_is_asked_before_an_approval_ahead(folder: Path, answer: str, given: int) -> None:
    shown = at_terminal(folder, answer, "approve", str(folder.parent / "study.yaml"), "--by", "Ada", "--runs", "2")
    assert "Agree to 2 launches of it, whoever asks?" in shown
    assert runs(folder) == given


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
        assert ledger.read_state().count_approved_runs(terms.digest, Admits.LAUNCH) == 1


def test_approval_for_an_audit_is_another_than_one_for_a_launch(folder: Path) -> None:
    study = str(folder.parent / "study.yaml")
    done = site(folder, "approve", study, "--for", "audit", "--by", "Ada", "--runs", "2")
    assert f"approved: the terms {small_terms().digest[:16]}, by Ada, for 2 audits" in done.stderr
    assert not approved(folder)
    site(folder, "approve", study, "--by", "Ada")
    with SiteFolder(folder).open_ledger() as ledger:
        counted = [ledger.read_state().count_approved_runs(small_terms().digest, each) for each in Admits]
    assert counted == [1, 2, 0]
    site(folder, "revoke", study, "--by", "Bob")
    with SiteFolder(folder).open_ledger() as ledger:
        counted = [ledger.read_state().count_approved_runs(small_terms().digest, each) for each in Admits]
    assert counted == [0, 0, 0]


def test_approval_for_an_audit_where_two_people_decide_says_that_it_will_not_do(folder: Path) -> None:
    change_policy(SiteFolder(folder), persons=2)
    done = site(folder, "approve", str(folder.parent / "study.yaml"), "--for", "audit", "--by", "Ada")
    assert "this site's policy asks for two people, so it still refuses an audit" in done.stderr


def test_study_that_waits_is_no_audit(folder: Path) -> None:
    done = site(folder, "approve", "lungs-1a2b3c4d", "--for", "audit", "--by", "Ada")
    assert (done.exit_code, "are for an approval ahead of a launch" in done.stderr) == (2, True)


def test_one_approval_admits_one_launch(tmp_path: Path) -> None:
    """A coordinator launches approved terms again and again, until the grant is empty."""
    simulator = Simulator(tmp_path / "wood", small_terms())
    change_policy(simulator.homes["ash"], automatic=[])
    study = write_study(tmp_path / "study.yaml", small_terms())
    site(simulator.homes["ash"].folder, "approve", str(study), "--by", "Ada")
    answers = []
    for _ in range(2):
        simulator.launch()
        answers.append(simulator.exchange("ash", Join(launch=simulator.journal.read_launch(), epoch=1))[0])
    assert [type(each) for each in answers] == [Joined, Waiting]
    assert len(simulator.entries("ash", "allow")) == 1
    simulator.close()


def test_approval_is_of_exactly_these_terms(folder: Path) -> None:
    changed = write_study(folder.parent / "changed.yaml", small_terms(training={"rounds": 3}))
    site(folder, "approve", str(changed), "--by", "Ada")
    assert not approved(folder)


def test_approval_by_nobody_is_refused(folder: Path) -> None:
    with pytest.raises(LedgerError, match="by: expected at least 1 characters"):
        site(folder, "approve", str(folder.parent / "study.yaml"), "--by", "")
    assert not approved(folder)


# a study that waits ----------------------------------------------------------------------------------------


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[Simulator]:
    """A study that waits for the people of ash, whose command line knows it."""
    simulator = Simulator(tmp_path / "wood", small_terms())
    change_policy(simulator.homes["ash"], automatic=[], contact="Ada, 1234")
    simulator.launch()
    simulator.run(lambda: simulator.conductor.machine.phase is Phase.WAITING)
    yield simulator
    simulator.close()


def at_ash(simulator: Simulator, *words: str) -> Result:
    return site(simulator.homes["ash"].folder, *words)


def test_study_that_waits_is_shown_with_all_that_a_person_needs_and_is_then_admitted(simulator: Simulator) -> None:
    assert f"consilium-site approve {simulator.study}" in at_ash(simulator, "status").stdout
    done = at_ash(simulator, "approve", simulator.study, "--by", "Ada Byron", "--yes")
    shown = " ".join(done.stdout.split())
    operator = simulator.federation.load_operator().public.typed
    for words in (
        "purpose a test",
        "launched by 'local', as the coordinator calls them; ordered 20",
        f"key {operator} (this site's policy names no operators)",
        "predicts ",
        "from ",
        "sites ash: this site",
        "birch: its key is believed here",
        "the model goes to the sites that take part",
        "not protected test patients: their totals leave without noise",
        "decided 1 must agree",
        "in all epsilon ",
    ):
        assert words in shown
    assert "approved by Ada Byron; the coordinator hears of it the next time it asks" in done.stderr
    (entry,) = simulator.entries("ash", "decide")
    launch = simulator.journal.read_launch().statement
    assert entry.body.model_dump(mode="json") == {
        "study": simulator.study,
        "launch": launch.digest,
        "terms": launch.terms.digest,
        "about": "admission",
        "choice": "approve",
        "model": None,
        "reviewed": None,
        "why": None,
        "by": "Ada Byron",
        "account": getpass.getuser(),
    }
    simulator.run(seconds=5)
    assert simulator.state("ash").closed


def test_refusal_of_a_study_that_waits_ends_it_here_with_its_reason(simulator: Simulator) -> None:
    done = at_ash(simulator, "refuse", simulator.study, "--by", "Ada", "--why", "too few beds", "--yes")
    assert "refused by Ada" in done.stderr
    simulator.run(seconds=5)
    assert simulator.conductor.machine.sites["ash"].why.endswith(
        "people of this site have refused it: too few beds"
    )


def test_decision_names_the_review_of_another_site_of_exactly_these_terms(simulator: Simulator) -> None:
    digest = simulator.terms.digest
    with pytest.raises(LedgerError, match="the other site has reviewed other terms than these"):
        at_ash(simulator, "approve", simulator.study, "--by", "Ada", "--reviewed-by", "elm", "--reviewed", "0" * 64)
    at_ash(simulator, "approve", simulator.study, "--by", "Ada", "--reviewed-by", "elm", "--reviewed", digest)
    (entry,) = simulator.entries("ash", "decide")
    assert entry.body.model_dump()["reviewed"] == {"site": "elm", "terms": digest}
    assert "relying on the review of 'elm'" in at_ash(simulator, "ledger", "list").stdout


def test_study_that_does_not_wait_is_named_with_those_that_do(simulator: Simulator) -> None:
    with pytest.raises(SiteConfigError, match=rf"no study 'small-00000000' waits .* that wait: {simulator.study}"):
        at_ash(simulator, "approve", "small-00000000", "--by", "Ada")


@pytest.mark.parametrize("words", [("approve",), ("refuse", "--why", "too few beds")])
def test_decision_is_refused_when_another_launch_of_this_name_was_asked_for_meanwhile(
    simulator: Simulator, words: tuple[str, ...]
) -> None:
    """Two launches have the same identifier (its 8 digits are found by trying); the second came after a look."""
    launch = simulator.journal.read_launch().statement
    with simulator.homes["ash"].open_ledger() as ledger:
        asked = ledger.read_state().decisions.find_required(simulator.study)
        assert asked is not None
        assert asked.launch == launch.digest
        ledger.require(asked.model_copy(update={"launch": "9" * 64, "terms": "8" * 64, "nonce": "7" * 32}))
    with pytest.raises(RefusedError, match="is another launch now than the one that was shown; look at it again"):
        at_ash(simulator, words[0], simulator.study, "--by", "Ada", *words[1:])
    assert simulator.entries("ash", "decide") == []


def test_second_person_is_asked_for_and_a_refusal_holds(simulator: Simulator) -> None:
    change_policy(simulator.homes["ash"], persons=2)
    simulator.run(lambda: "0 of 2" in simulator.conductor.machine.sites["ash"].why, seconds=20)
    done = at_ash(simulator, "approve", simulator.study, "--by", "Ada")
    assert "1 of 2 have agreed; it waits for another person" in done.stderr
    at_ash(simulator, "refuse", simulator.study, "--by", "Bob")
    done = at_ash(simulator, "approve", simulator.study, "--by", "Cem")
    assert "it stays refused as long as Bob refuses it" in done.stderr
    done = at_ash(simulator, "approve", simulator.study, "--by", "Bob")
    assert "the coordinator hears of it the next time it asks" in done.stderr


def test_decision_of_an_ahead_approval_and_one_person_are_two(simulator: Simulator, tmp_path: Path) -> None:
    change_policy(simulator.homes["ash"], persons=2)
    study = write_study(tmp_path / "study.yaml", simulator.terms)
    at_ash(simulator, "approve", str(study), "--by", "Ada")
    simulator.run(lambda: "1 of 2" in simulator.conductor.machine.sites["ash"].why, seconds=20)
    at_ash(simulator, "approve", simulator.study, "--by", "Bob")
    simulator.run(seconds=5)
    assert simulator.state("ash").closed
