"""An approval for one thing that somebody uses for another: an audit for a launch, a launch for an audit."""

from pathlib import Path

import pytest

from benchmarks.small_study import small_terms
from privacy.errors import LedgerError
from privacy.ledger.entries import Admits, AtLeast, Audit
from privacy.ledger.replay import replay
from privacy.ledger.rules import BrokenRuleError
from privacy.protocol.messages import Join, Joined, Waiting
from tests.privacy.ledger_makers import OTHER_KEY, changed, forged, number_of, values_of, write_every_kind
from tests.simulator import Simulator, change_policy

NOTHING_FOUND = AtLeast(one_run=0, trade_off=0, gaussian=0, independent=None)


def test_coordinator_cannot_launch_terms_of_which_an_audit_or_a_training_alone_was_approved(tmp_path: Path) -> None:
    """The data protection officer agreed to something else here, of terms that a coordinator then launches."""
    simulator = Simulator(tmp_path / "wood", small_terms())
    change_policy(simulator.homes["ash"], automatic=[])
    for admits, answer in ((Admits.AUDIT, Waiting), (Admits.ALONE, Waiting), (Admits.LAUNCH, Joined)):
        with simulator.homes["ash"].open_ledger() as ledger:
            ledger.approve(simulator.terms.digest, "Ada", admits=admits)
        simulator.launch()
        message = Join(launch=simulator.journal.read_launch(), epoch=1)
        assert isinstance(simulator.exchange("ash", message)[0], answer)
    with simulator.homes["ash"].open_ledger() as ledger:
        state = ledger.read_state()
    assert [state.count_approved_runs(simulator.terms.digest, each) for each in Admits] == [0, 1, 1]


@pytest.mark.parametrize("ahead", [True, False], ids=["approved ahead", "by the policy"])
def test_site_cannot_put_the_result_of_an_audit_on_a_launched_study(tmp_path: Path, ahead: bool) -> None:
    """A site would show 'epsilon at least 0' beside a study that no attack was tried on."""
    simulator = Simulator(tmp_path / "wood", small_terms())
    if ahead:
        change_policy(simulator.homes["ash"], automatic=[])
        with simulator.homes["ash"].open_ledger() as ledger:
            ledger.approve(simulator.terms.digest, "Ada")
    simulator.launch()
    simulator.run(lambda: bool(simulator.entries("ash", "reserve")))
    result = Audit(
        study=simulator.study,
        canaries=400,
        epsilon=3,
        delta=1e-3,
        gaussian_is_claimed=False,
        at_least=NOTHING_FOUND,
    )
    with simulator.homes["ash"].open_ledger() as ledger:
        before = ledger.head
        with pytest.raises(BrokenRuleError, match="was not admitted by an approval of audits"):
            ledger.record_audit(result)
        assert ledger.head == before


@pytest.mark.parametrize("study", ["third", "first"])
def test_auditor_refuses_a_ledger_whose_audit_is_moved_to_another_study(tmp_path: Path, study: str) -> None:
    write_every_kind(tmp_path / "ledger.sqlite")
    values = values_of(tmp_path / "ledger.sqlite", OTHER_KEY)
    number = number_of(values, "audit")
    with pytest.raises(
        LedgerError, match=rf"^entry {number} breaks the rule 'approval': '{study}' was not admitted"
    ):
        replay(forged(changed(values, number, study=study)))


@pytest.mark.parametrize("admits", [Admits.LAUNCH, Admits.AUDIT])
def test_auditor_refuses_a_ledger_whose_approval_is_changed_to_the_other_kind(
    tmp_path: Path, admits: Admits
) -> None:
    write_every_kind(tmp_path / "ledger.sqlite")
    values = values_of(tmp_path / "ledger.sqlite", OTHER_KEY)
    numbers = [place for place, value in enumerate(values, 1) if value["kind"] == "approve"]
    for number in (numbers[0], numbers[-1]):
        if values[number - 1]["body"]["admits"] != admits:
            with pytest.raises(LedgerError, match="breaks the rule 'approval'"):
                replay(forged(changed(values, number, admits=admits.value)))
