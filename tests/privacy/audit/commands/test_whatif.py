"""What would still fit: every answer is tried on the ledger itself, which then admits that many and no more."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from privacy.accounting.calibration import compute_noise_multiplier
from privacy.accounting.epsilon import compute_charge, compute_renyi_limit, epsilon_of
from privacy.accounting.events import Gaussian, SampledGaussian, TreeGaussian, Unprotected
from privacy.accounting.plan import Planned, Purpose
from privacy.audit.cli import cli
from privacy.errors import BudgetError, Error, LedgerError
from privacy.ledger import Ledger
from tests.privacy.ledger_makers import KEY, OTHER_KEY, STEP, TERMS, TOTALS, clock, granted_ledger, plan

ROOT = Path(__file__).parents[4]
POPULATION = "breast-2026"
PRICE = compute_charge(STEP, 8)
SCORES = compute_charge(TOTALS, 8)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A grant of epsilon 3 at delta 1e-3 and order 8; one study of five rounds, one of them done."""
    path = tmp_path / "ledger.sqlite"
    with granted_ledger(path) as ledger:
        ledger.allow("first", POPULATION, plan(), TERMS)
        ledger.reserve("first", 1, STEP)
        ledger.settle("first", 1)
    return path


def ask(state: Path, *arguments: str, population: str = POPULATION) -> dict[str, Any]:
    result = CliRunner().invoke(
        cli, ["whatif", str(state), "--population", population, *arguments, "--json"], catch_exceptions=False
    )
    assert result.exit_code == 0, result.stderr
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def refusal(state: Path, *arguments: str, population: str = POPULATION) -> Error:
    with pytest.raises(Error) as caught:
        CliRunner().invoke(
            cli, ["whatif", str(state), "--population", population, *arguments], catch_exceptions=False
        )
    return caught.value


def training(noise: float, rounds: int, rate: float = 0.05, steps: int = 20) -> list[Planned]:
    event = SampledGaussian(noise_multiplier=noise, sampling_rate=rate, steps=steps)
    return [Planned(purpose=Purpose.TRAIN, event=event, times=rounds)]


def admitted(state: Path, study: list[Planned], wanted: int) -> int:
    """How many such studies the ledger admits, asked for one more than ``wanted``."""
    with Ledger.open(state, KEY, clock(start="2026-04-01T08:00:00+00:00")) as ledger:
        for number in range(wanted + 1):
            try:
                ledger.allow(f"whatif-{number}", POPULATION, study, TERMS)
            except BudgetError:
                return number
    return wanted + 1


def test_studies_like_one_of_the_ledger_are_as_many_as_the_ledger_then_admits(state: Path) -> None:
    answer = ask(state, "--like", "first")
    left = compute_renyi_limit(3, 1e-3, 8) - 5 * PRICE - 2 * SCORES
    assert answer["studies"] == left // (5 * PRICE + 2 * SCORES) > 5
    assert answer["entries"] == 6
    assert admitted(state, plan(), answer["studies"]) == answer["studies"]


def test_rounds_like_those_of_a_study_are_as_many_as_the_ledger_then_admits(state: Path) -> None:
    answer = ask(state, "--like", "first")
    assert answer["rounds"] == (compute_renyi_limit(3, 1e-3, 8) - 5 * PRICE - 4 * SCORES) // PRICE
    assert answer["rounds_to_do"] == 4
    assert admitted(state, plan(rounds=answer["rounds"] + 1), 0) == 0
    assert admitted(state, plan(rounds=answer["rounds"]), 0) == 1


def test_room_is_told_for_every_grant_and_a_study_is_paid_from_one(state: Path) -> None:
    with Ledger.open(state, KEY, clock(start="2026-04-01T08:00:00+00:00")) as ledger:
        ledger.grant(POPULATION, 1.0, 1e-4, 16)
    answer = ask(state, "--like", "first")
    first, second = answer["grants"]
    assert (first["grant"], first["order"], second["grant"], second["order"]) == (1, 8, 2, 16)
    assert second["left"] == compute_renyi_limit(1.0, 1e-4, 16)
    assert second["price_of_study"] == 5 * compute_charge(STEP, 16) + 2 * compute_charge(TOTALS, 16)
    assert answer["studies"] == first["studies"] + second["studies"]
    assert answer["rounds"] == max(first["rounds"], second["rounds"])
    assert answer["delta"] == 1e-4
    assert admitted(state, plan(), answer["studies"]) == answer["studies"]


def test_noise_for_ten_studies_lets_ten_in_and_a_millionth_less_does_not(state: Path, tmp_path: Path) -> None:
    answer = ask(state, "--studies", "10", "--rounds", "10", "--steps", "20", "--sampling-rate", "0.05")
    (planned,) = answer["training"]
    noise = planned["event"]["noise_multiplier"]
    assert answer["studies"] == 10
    other = tmp_path / "other.sqlite"
    other.write_bytes(state.read_bytes())
    assert admitted(other, training(noise - 1e-6, 10), 10) == 9
    assert admitted(state, training(noise, 10), 10) == 10


def test_noise_for_one_study_of_an_untouched_grant_is_the_accountants(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    granted_ledger(path).close()
    answer = ask(path, "--studies", "1", "--rounds", "10", "--steps", "20", "--sampling-rate", "0.05")
    noise = compute_noise_multiplier(3.0, 1e-3, 0.05, 20, rounds=10, orders=(8,))
    assert answer["training"][0]["event"]["noise_multiplier"] == noise
    alone = SampledGaussian(noise_multiplier=noise, sampling_rate=0.05, steps=200)
    assert answer["epsilon_alone"] == epsilon_of([alone], 1e-3) <= 3


def test_studies_with_a_given_noise_are_as_many_as_the_ledger_then_admits(state: Path) -> None:
    answer = ask(state, "--noise-multiplier", "3", "--rounds", "10", "--steps", "20", "--sampling-rate", "0.05")
    assert answer["studies"] == 9
    assert admitted(state, training(3, 10), 9) == 9


def test_answer_in_words_names_the_study_the_room_and_every_grant(state: Path) -> None:
    result = CliRunner().invoke(
        cli, ["whatif", str(state), "--population", POPULATION, "--like", "first", "--key", KEY.public.typed]
    )
    assert result.exit_code == 0
    for line in (
        "site         north",
        "(as given)",
        "complete     up to entry 6",
        "population   breast-2026",
        "a study      5 rounds: noise multiplier 2, sampling rate 0.05, steps 10",
        "alone        epsilon 0.5608 at delta 0.001, its rounds fixed in advance",
        "would fit    12 such studies, or one of up to 72 rounds",
        "set aside    'first' itself has 4 rounds to do, paid for already",
        "grant  epsilon  delta  order  left    a study adds  rounds  studies",
        "1      3        0.001  8      2.2676  0.1761        72      12",
    ):
        assert line in result.stdout


def test_all_digits_of_the_noise_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    granted_ledger(path, epsilon=1.2).close()
    asked = ["--studies", "40", "--rounds", "10", "--steps", "20", "--sampling-rate", "0.5"]
    noise = ask(path, *asked)["training"][0]["event"]["noise_multiplier"]
    assert noise > 10
    result = CliRunner().invoke(cli, ["whatif", str(path), "--population", POPULATION, *asked])
    assert f"noise multiplier {noise}," in result.stdout


def test_all_digits_are_shown_of_noise_of_every_kind(state: Path) -> None:
    event = TreeGaussian(noise_multiplier=12.3456789, lots=4, steps=8)
    study = [Planned(purpose=Purpose.TRAIN, event=event, times=1)]
    with Ledger.open(state, KEY, clock(start="2026-04-01T08:00:00+00:00")) as ledger:
        ledger.allow("tree", POPULATION, study, TERMS)
    asked = ["whatif", str(state), "--population", POPULATION, "--like", "tree"]
    result = CliRunner().invoke(cli, asked, catch_exceptions=False)
    assert "a study      1 rounds: noise multiplier 12.3456789, lots 4, steps 8" in result.stdout


def test_closed_study_has_no_rounds_to_do(state: Path) -> None:
    with Ledger.open(state, KEY, clock(start="2026-04-01T08:00:00+00:00")) as ledger:
        ledger.give_back("first")
    answer = ask(state, "--like", "first")
    assert answer["rounds_to_do"] == 0
    assert answer["grants"][0]["left"] == compute_renyi_limit(3, 1e-3, 8) - PRICE


def test_grant_that_is_used_up_has_room_for_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with granted_ledger(path) as ledger:
        ledger.allow("all", POPULATION, plan(rounds=(compute_renyi_limit(3, 1e-3, 8) - 2 * SCORES) // PRICE), TERMS)
    answer = ask(path, "--like", "all")
    assert (answer["rounds"], answer["studies"]) == (0, 0)
    with pytest.raises(BudgetError, match="no noise lets 10000 such studies fit"):
        raise refusal(path, "--studies", "10000", "--rounds", "9999", "--steps", "100000", "--sampling-rate", "1")


def test_export_is_answered_as_its_ledger_is(state: Path, tmp_path: Path) -> None:
    with Ledger.open(state, KEY) as ledger:
        (tmp_path / "export.jsonl").write_bytes(b"".join(ledger.export_lines()))
    assert ask(tmp_path / "export.jsonl", "--like", "first") == ask(state, "--like", "first")


def test_study_that_was_never_admitted_is_a_sentence(state: Path) -> None:
    error = refusal(state, "--like", "nobody")
    assert isinstance(error, BudgetError)
    assert "'nobody' was never admitted in this ledger" in str(error)


def test_study_without_privacy_is_a_sentence(state: Path) -> None:
    with Ledger.open(state, KEY, clock(start="2026-04-01T08:00:00+00:00")) as ledger:
        ledger.allow("open", POPULATION, plan(step=Unprotected()), TERMS)
        assert "no training that a grant pays for" in str(refusal(state, "--like", "open"))
        ledger.reserve("open", 1, Unprotected())
    assert "was trained on without privacy: no epsilon" in str(refusal(state, "--like", "first"))


def test_study_that_only_evaluates_is_a_sentence(state: Path) -> None:
    scores = [Planned(purpose=Purpose.EVALUATE, event=Gaussian(noise_multiplier=20, count=1), times=2)]
    with Ledger.open(state, KEY, clock(start="2026-04-01T08:00:00+00:00")) as ledger:
        ledger.allow("scores", POPULATION, scores, TERMS)
    assert "no training that a grant pays for" in str(refusal(state, "--like", "scores"))


def test_population_without_a_grant_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger.create(path, KEY, "north", clock()) as ledger:
        ledger.register_population("new", "1" * 64, 160, 1, "5" * 64, "c" * 64, "id")
    described = ("--noise-multiplier", "3", "--rounds", "1", "--steps", "1", "--sampling-rate", "0.1")
    assert "'new' has no privacy budget" in str(refusal(path, *described, population="new"))
    assert "'old' is not registered" in str(refusal(path, *described, population="old"))


def test_ledger_of_another_key_is_not_answered_from(state: Path) -> None:
    error = refusal(state, "--like", "first", "--key", OTHER_KEY.public.typed)
    assert isinstance(error, LedgerError)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "ask one question: --like, --studies or --noise-multiplier"),
        (["--like", "first", "--studies", "3"], "ask one question"),
        (["--studies", "3", "--noise-multiplier", "2"], "ask one question"),
        (["--like", "first", "--rounds", "3"], "--like takes rounds, steps and sampling rate from the study"),
        (["--studies", "3", "--rounds", "3", "--steps", "1"], "describe a study: --rounds, --steps and"),
        (["--noise-multiplier", "0"], "--noise-multiplier"),
        (["--studies", "1", "--rounds", "1", "--steps", "1", "--sampling-rate", "nan"], "--sampling-rate"),
    ],
)
def test_question_that_is_not_one_is_wrong_usage(state: Path, arguments: list[str], sentence: str) -> None:
    result = CliRunner().invoke(cli, ["whatif", str(state), "--population", POPULATION, *arguments])
    assert result.exit_code == 2
    assert sentence in result.stderr


def test_refusal_ends_the_program_with_a_sentence_and_its_code(state: Path) -> None:
    code = "from privacy.audit.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "whatif", state, "--population", POPULATION, "--like", "nobody"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert (done.returncode, done.stdout) == (BudgetError.exit_code, "")
    assert done.stderr.startswith("consilium-audit: the study 'nobody'")


def test_answer_needs_no_heavy_library(state: Path) -> None:
    heavy = {"torch", "flwr", "dp_accounting", "numpy", "pandas", "scipy"}
    code = (
        "import sys; from privacy.audit.cli import cli; "
        f"cli(['whatif', {str(state)!r}, '--population', {POPULATION!r}, '--like', 'first', '--json'], "
        f"standalone_mode=False); print({heavy} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
