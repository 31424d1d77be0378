"""``consilium-site withdraw``: a site leaves a study, and gets back what it has not used."""

from pathlib import Path

import pytest

from benchmarks.small_study import small_terms
from privacy.errors import BudgetError
from tests.client.commands.terminal import grant, site, with_data
from tests.simulator import Simulator


def test_site_that_withdraws_trains_no_more_and_the_others_go_on(tmp_path: Path) -> None:
    simulator = Simulator(tmp_path / "wood", small_terms(training={"rounds": 3}))
    simulator.launch()
    simulator.run(lambda: simulator.journal.read_history().base == 1)
    done = site(simulator.homes["ash"].folder, "withdraw", simulator.study)
    assert f"'{simulator.study}' is closed here" in done.stderr
    simulator.run(seconds=5)
    assert [entry.kind for entry in simulator.entries("ash", "return")] == ["return"]
    assert simulator.trained["ash", 3] == 0
    assert simulator.trained["birch", 3] == 1
    with simulator.homes["ash"].open_ledger() as ledger:
        (grant_left,) = ledger.read_state().list_budgets()[0].grants
        assert grant_left.set_aside == 0
    simulator.close()


def test_withdrawing_from_a_study_that_was_never_admitted_is_refused(folder: Path) -> None:
    with_data(folder)
    grant(folder)
    with pytest.raises(BudgetError, match="has no allowance in this ledger"):
        site(folder, "withdraw", "small-00000000")
