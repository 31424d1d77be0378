"""``consilium-site budget``: the table, the grant with its orders, the price of a study before anyone says yes."""

import getpass
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.small_study import small_terms, without_privacy, write_study
from client.admission.budget_forecast import advise_order
from client.admission.rules import compute_price
from client.site.folder import SiteFolder
from privacy.accounting.grant_order import choose_order
from privacy.accounting.renyi import STORED_ORDERS
from privacy.errors import BudgetError, LedgerError, TermsError
from privacy.ledger.entries import Grant
from tests.client.commands.terminal import at_terminal, grant, script, site, with_data

PLAN = compute_price(small_terms()).plan
STUDY = "small-00000000"


def admitted(folder: Path, study: str = STUDY, rounds: int = 0) -> None:
    """The site has admitted a study, and trained some of its rounds."""
    with SiteFolder(folder).open_ledger() as ledger:
        ledger.allow(study, "small", PLAN, small_terms().digest)
        for number in range(1, rounds + 1):
            ledger.reserve(study, number, PLAN[0].event)


def table(folder: Path) -> list[list[str]]:
    """The rows of the budget's table, as words; what open studies hold is another table, below it."""
    return [line.split() for line in site(folder, "budget").stdout.split("\n\n")[0].splitlines()[1:]]


def document(folder: Path) -> dict[str, Any]:
    (found,) = json.loads(site(folder, "budget", "--json").stdout)["populations"]
    assert isinstance(found, dict)
    return found


def grants(folder: Path) -> list[Grant]:
    with SiteFolder(folder).open_ledger() as ledger:
        return [entry.body for entry in ledger.read_entries() if isinstance(entry.body, Grant)]


# The table -------------------------------------------------------------------------------------------------


def test_budget_before_a_grant_is_nothing(folder: Path) -> None:
    with_data(folder)
    heading = site(folder, "budget").stdout.splitlines()[0].split()
    assert " ".join(heading) == "population grant epsilon delta order spent set aside left would still fit"
    assert table(folder) == [["small", "-", "-", "-", "-", "0.000", "0.000", "0.000", "-"]]


def test_grant_shows_in_the_budget(folder: Path) -> None:
    with_data(folder)
    grant(folder)
    assert table(folder) == [["small", "1", "6", "0.001", "3", "0.000", "0.000", "6.000", "-"]]
    found = document(folder)
    assert (found["population"], found["epsilon_granted"], found["epsilon_left"]) == ("small", 6, 6)
    assert found["fits"] is None


def test_budget_tells_how_many_more_studies_fit(folder: Path) -> None:
    with_data(folder)
    grant(folder, epsilon="8")
    admitted(folder, rounds=1)
    (row,) = table(folder)
    more = document(folder)["fits"]["more"]
    assert row[-4:] == [str(more), "more", "like", f"'{STUDY}'"]
    assert document(folder)["fits"]["like"] == STUDY
    for number in range(more):
        admitted(folder, f"next-{number}")
    assert document(folder)["fits"]["more"] == 0
    with pytest.raises(BudgetError, match="is left of 8"):
        admitted(folder, "one-too-many")


def test_several_grants_are_summed_and_shown_one_by_one(folder: Path) -> None:
    with_data(folder)
    grant(folder)
    grant(folder, "--further", "--despite", "--order", "8", epsilon="2", delta="5e-4")
    admitted(folder, rounds=1)
    whole, first, second = table(folder)
    assert whole[:5] == ["small", "all", "8", "0.0015", "-"]
    assert first[:4] == ["1", "6", "0.001", "3"]
    assert second == ["2", "2", "0.0005", "8", "0.000", "0.000", "2.000"]
    assert whole[5:7] == first[4:6]
    assert [each["order"] for each in document(folder)["grants"]] == [3, 8]


def test_training_without_privacy_shows_as_unbounded(folder: Path) -> None:
    with_data(folder)
    grant(folder)
    with SiteFolder(folder).open_ledger() as ledger:
        bare = compute_price(without_privacy()).plan
        ledger.allow("bare", "small", bare, "0" * 64)
        ledger.reserve("bare", 1, bare[0].event)
    (row,) = table(folder)
    assert row[5:8] == ["unbounded", "0.000", "0.000"]
    assert document(folder)["epsilon_spent"] is None


def test_budget_starts_without_the_heavy_libraries(folder: Path) -> None:
    """In a process of its own, after the command has done its work."""
    with_data(folder)
    grant(folder)
    admitted(folder)
    check = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from client.cli import cli\n"
        f"done = CliRunner().invoke(cli, ['--dir', {str(folder)!r}, *sys.argv[1:]], catch_exceptions=False)\n"
        "heavy = ('torch', 'opacus', 'flwr', 'tenseal', 'pandas', 'sklearn', 'dp_accounting', 'grpc', 'safetensors')\n"
        "print(done.exit_code, [name for name in heavy if name in sys.modules])\n"
    )
    # explain is not among them: a study's model is checked with the file that has its options and its modules
    for arguments in (["budget"], ["ledger", "list"], ["status"]):
        done = subprocess.run([sys.executable, "-c", check, *arguments], capture_output=True, text=True, check=True)
        assert done.stdout == "0 []\n", arguments


# Granting --------------------------------------------------------------------------------------------------


def test_grant_shows_every_order_and_marks_the_one_that_admits_most(folder: Path) -> None:
    with_data(folder)
    done = grant(folder)
    expected = choose_order(6.0, 1e-3, PLAN)
    lines = done.stdout.splitlines()
    assert [int(line.split()[0]) for line in lines[1:]] == list(STORED_ORDERS)
    (taken,) = [line.split() for line in lines if line.endswith("<- taken")]
    choice = advise_order(6.0, 1e-3, [small_terms()]).taken
    assert int(taken[0]) == expected == choice.order
    assert float(taken[1]) == pytest.approx(float(choice.conversion), abs=1e-4)
    assert float(taken[2]) == pytest.approx(choice.price / 1e9, abs=1e-4)
    assert float(taken[3]) == pytest.approx(float(choice.admits), abs=1e-2)
    assert f"granted 'small' epsilon 6 at delta 0.001, kept at Renyi order {expected}" in done.stderr
    assert f"order {expected} admits most" in done.stderr
    assert [each.order for each in grants(folder)] == [expected]


def test_grant_is_kept_at_the_order_that_was_said(folder: Path) -> None:
    with_data(folder)
    done = grant(folder, "--order", "8")
    marks = {line.split()[0]: line.split("<- ")[1] for line in done.stdout.splitlines() if "<- " in line}
    assert marks == {"3": "admits most", "8": "taken"}
    assert "order 8 is taken as you said; it admits 1.27 times all of them" in done.stderr
    assert grants(folder)[0].order == 8


def test_grant_at_an_order_that_no_entry_carries_is_written_wrongly(folder: Path) -> None:
    with_data(folder)
    done = grant(folder, "--order", "9")
    assert done.exit_code == 2
    assert "'9' is not one of" in done.stderr
    assert grants(folder) == []


def test_grant_takes_several_typical_studies(folder: Path) -> None:
    with_data(folder)
    other = small_terms(training={"rounds": 20})
    path = write_study(folder.parent / "other.yaml", other)
    found = json.loads(grant(folder, "--typical", str(path), "--json").stdout)
    advice = advise_order(6.0, 1e-3, [small_terms(), other])
    assert found["order"] == found["best_order"] == advice.taken.order
    assert [(each["order"], each["price"]) for each in found["orders"]] == [
        (choice.order, choice.price) for choice in advice.choices
    ]


def test_grant_for_a_population_that_has_one_needs_a_word(folder: Path) -> None:
    with_data(folder)
    grant(folder)
    with pytest.raises(BudgetError, match=r"has a grant already \(epsilon 6, delta 0.001\).*say so with --further"):
        grant(folder, epsilon="60")
    assert len(grants(folder)) == 1


def test_further_grant_adds_and_says_what_that_means(folder: Path) -> None:
    with_data(folder)
    grant(folder)
    done = grant(folder, "--further", epsilon="4")
    assert "a population's epsilons and deltas are summed" in done.stderr
    assert "after results were seen" not in done.stderr
    assert [each.epsilon for each in grants(folder)] == [6, 4]


def test_further_grant_after_results_says_that_reports_will_tell(folder: Path) -> None:
    with_data(folder)
    grant(folder)
    admitted(folder, rounds=1)
    done = grant(folder, "--further", epsilon="4")
    assert "every report will say that the budget was enlarged after results were seen" in done.stderr


def test_first_grant_is_not_a_further_one(folder: Path) -> None:
    with_data(folder)
    with pytest.raises(BudgetError, match="'small' has no grant yet, so this is its first: leave out --further"):
        grant(folder, "--further")


@pytest.mark.parametrize("delta", ["0.999", "0.015"])
def test_grant_with_a_delta_above_one_in_the_patients_is_refused_with_one_that_fits(
    folder: Path, delta: str
) -> None:
    """60 patients by the public count may be 69."""
    with_data(folder)
    with pytest.raises(BudgetError, match=f"delta {delta} is more than one in the 70 patients.*at most 0.014$"):
        grant(folder, "--yes", delta=delta)
    assert grants(folder) == []
    grant(folder, delta="0.014")
    assert len(grants(folder)) == 1


def test_grant_too_small_for_the_expected_studies_is_refused_unless_it_is_meant(folder: Path) -> None:
    with_data(folder)
    with pytest.raises(BudgetError, match="does not hold all expected studies even once, and nothing") as caught:
        grant(folder, "--yes", epsilon="2")
    assert grants(folder) == []
    least = str(caught.value).split("take epsilon ")[1].split(";")[0]
    grant(folder, epsilon=least)
    with pytest.raises(BudgetError, match="even once"):
        grant(folder, "--further", epsilon=f"{float(least) - 0.01:.3f}")
    grant(folder, "--further", "--despite", epsilon="2")
    assert [each.epsilon for each in grants(folder)] == [float(least), 2]


@pytest.mark.parametrize(("typed", "granted"), [("y", 1), ("n", 0)])
def test_grant_at_a_terminal_is_asked_about_first(folder: Path, typed: str, granted: int) -> None:
    with_data(folder)
    study = str(folder.parent / "study.yaml")
    shown = at_terminal(
        folder, typed, "budget", "grant", "small", "--epsilon", "6", "--delta", "1e-3", "--typical", study
    )
    assert "no grant is ever changed or taken back. Grant it? [y/N]" in " ".join(shown.split())
    assert len(grants(folder)) == granted


def test_grant_says_who_gave_it(folder: Path) -> None:
    with_data(folder)
    grant(folder, "--by", "Ada Byron")
    (given,) = grants(folder)
    assert (given.by, given.account) == ("Ada Byron", getpass.getuser())


def test_budget_shows_what_an_open_study_holds_since_when_and_how_to_free_it(folder: Path) -> None:
    with_data(folder)
    grant(folder)
    assert "holds" not in site(folder, "budget").stdout
    admitted(folder, rounds=1)
    done = site(folder, "budget")
    (line,) = [line for line in done.stdout.splitlines() if line.startswith(STUDY)]
    (hold,) = json.loads(site(folder, "budget", "--json").stdout)["holds"]
    assert line.split()[:4] == [STUDY, "small", "1", f"{hold['epsilon']:.3f}"]
    assert line.endswith("round 1 paid  -")
    assert hold["epsilon"] == pytest.approx(document(folder)["epsilon_set_aside"], abs=1e-4)
    assert "consilium-site withdraw STUDY" in done.stderr
    site(folder, "withdraw", STUDY)
    assert "holds" not in site(folder, "budget").stdout


@pytest.mark.parametrize(
    ("epsilon", "delta"), [("0", "1e-3"), ("-1", "1e-3"), ("nan", "1e-3"), ("6", "0"), ("6", "1")]
)
def test_grant_of_an_impossible_budget_is_refused(folder: Path, epsilon: str, delta: str) -> None:
    with_data(folder)
    with pytest.raises(BudgetError, match=r"expected|room|is more than one in"):
        grant(folder, epsilon=epsilon, delta=delta)
    assert grants(folder) == []


def test_grant_without_room_at_any_order_is_refused(folder: Path) -> None:
    with_data(folder)
    with pytest.raises(BudgetError, match="admits nothing of the expected studies at any order"):
        grant(folder, epsilon="0.001", delta="1e-9")


def test_grant_without_room_at_the_order_that_was_said_is_refused(folder: Path) -> None:
    with_data(folder)
    with pytest.raises(BudgetError, match="has no room at order 2"):
        grant(folder, "--order", "2", "--despite", epsilon="3")
    assert grants(folder) == []


def test_grant_of_a_population_that_is_not_registered_is_refused(folder: Path) -> None:
    with pytest.raises(LedgerError, match="'small' is not registered"):
        grant(folder)


def test_grant_needs_typical_studies_with_privacy(folder: Path) -> None:
    with_data(folder)
    study = write_study(folder.parent / "study.yaml", without_privacy())
    with pytest.raises(TermsError, match=r"has no privacy \(epsilon: none\); name studies that have"):
        grant(folder)
    study.write_text("consilium: 1")
    with pytest.raises(TermsError, match="missing"):
        grant(folder)


# Explaining ------------------------------------------------------------------------------------------------


def explanation(folder: Path) -> dict[str, Any]:
    found = json.loads(site(folder, "budget", "explain", str(folder.parent / "study.yaml"), "--json").stdout)
    assert isinstance(found, dict)
    return found


def test_explanation_before_data_and_grant_tells_what_is_missing(folder: Path) -> None:
    done = site(folder, "budget", "explain", str(folder.parent / "study.yaml"))
    assert "none: no data are registered for it" in done.stdout
    assert "policy: the study's evaluation does not protect test patients" in done.stdout
    assert "data: no data are registered under the study's contract 'small'" in done.stdout
    assert [each["code"] for each in explanation(folder)["reasons"]] == ["policy", "data"]


def test_explanation_shows_price_and_what_would_be_left(folder: Path) -> None:
    with_data(folder)
    grant(folder)
    write_study(folder.parent / "study.yaml", small_terms(evaluation={"rounds": [2], "epsilon": 1.0}))
    site_file = folder / "policy.yaml"
    site_file.write_text(site_file.read_text().replace("epsilon_per_study: 3.0", "epsilon_per_study: 4.0"))
    found = explanation(folder)
    assert found["admitted"]
    shown = " ".join(site(folder, "budget", "explain", str(folder.parent / "study.yaml")).stdout.split())
    cost = found["cost"]
    for words in (
        "this site would admit it once a person has agreed",
        f"a round {cost['round']:.4f}, 2 of them",
        f"an evaluation {cost['evaluation']:.4f}, 1 of them",
        f"conversion {cost['conversion']:.4f}, by the first charge of a grant, once",
        f"in all epsilon {cost['total']:.4f} of grant 1, at order 3",
        f"left 6.0000 now, {cost['left_after']:.4f} afterwards",
        "epsilon 3 at delta 0.001 for the whole training",
        "epsilon 1 for all evaluations",
    ):
        assert words in shown


def test_explanation_changes_nothing(folder: Path) -> None:
    with_data(folder)
    grant(folder)
    with SiteFolder(folder).open_ledger() as ledger:
        head = ledger.head
    explanation(folder)
    with SiteFolder(folder).open_ledger() as ledger:
        assert ledger.head == head
        assert ledger.read_state().find_account("small").budget.epsilon_left == 6


def test_explanation_of_a_study_that_does_not_fit_says_so(folder: Path) -> None:
    with_data(folder)
    grant(folder, "--despite", epsilon="2.5")
    shown = site(folder, "budget", "explain", str(folder.parent / "study.yaml")).stdout
    assert "2.5000 now, it does not fit" in shown
    assert "budget: the study 'small' asks for epsilon" in shown


def test_explanation_after_the_data_changed_hands_asks_to_register_them(folder: Path) -> None:
    """The folder names files that the ledger has never heard of: a registration that was put back, or edited."""
    with_data(folder)
    home = SiteFolder(folder)
    (registration,) = home.load_registry().registrations.values()
    home.add_registration(registration.model_copy(update={"train_sha256": "0" * 64}))
    assert any("register them again" in each["sentence"] for each in explanation(folder)["reasons"])


def test_budget_of_a_site_that_is_none_is_a_sentence(tmp_path: Path) -> None:
    done = script("--dir", str(tmp_path / "none"), "budget", "explain", "none.yaml")
    assert (done.returncode, done.stdout) == (11, "")
    assert done.stderr == "consilium-site: none.yaml: cannot be read: No such file or directory\n"
