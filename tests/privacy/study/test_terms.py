"""Terms: what a researcher may write, and what every mistake is answered with."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from privacy.errors import TermsError
from privacy.study import TableContract, Terms, parse_terms, read_terms
from tests.privacy.launch_makers import GOLDEN_TERMS, golden_terms
from tests.privacy.vectors import generate

TEXT = GOLDEN_TERMS.read_text(encoding="utf-8")
GOLDEN: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "documents.json").read_text(encoding="utf-8")
)


def spoiled(folder: Path, *changes: tuple[str, str]) -> Terms:
    """The golden terms' file, each first text replaced by the second."""
    text = TEXT
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path = folder / "study.yaml"
    path.write_text(text, encoding="utf-8")
    return read_terms(path)


def test_golden_vectors_are_what_their_generator_writes() -> None:
    assert generate.vectors() == GOLDEN


def test_terms_written_down_are_the_golden_bytes() -> None:
    assert golden_terms().to_bytes().decode() == GOLDEN["terms"]
    assert golden_terms().digest == GOLDEN["terms_sha256"]


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("local_steps: 3", "local_stepz: 3", "training.local_stepz: unknown key; did you mean 'local_steps'?"),
        ("low: 20", "low: 20, lowest: 3", "lowest: unknown key; did you mean 'low'?"),
        ("purpose: A study that fits on a page.", "", "purpose: missing"),
        ("consilium: 1", "consilium: 2", "consilium: expected 1"),
        ("name: golden", "name: Golden Study", "name: expected a name: a small letter"),
        ("name: golden", "name: 7", "name: expected text; put it in quotes if YAML reads it as a number"),
        ("privacy:\n", "privacy:\n  unit: family\n", "privacy.unit: expected 'patient', 'record' or 'site'"),
        ("privacy:\n", "privacy:\n  neighbouring: replace\n", "neighbouring: expected 'add-or-remove-one'"),
        ("privacy:\n", "privacy:\n  placement: central\n", "privacy.placement: expected 'local'"),
        ("  delta: 0.001\n", "", "privacy: epsilon 3 needs delta as well"),
        ("  clipping_norm: 1.5\n", "", "privacy: epsilon 3 needs clipping_norm as well"),
        ("  epsilon: 3\n", "  epsilon: none\n", "(epsilon: none) there is no delta and no clipping_norm"),
        ("  epsilon: 3\n", "  epsilon: 0\n", "privacy.epsilon: expected more than 0"),
        ("  epsilon: 3\n", "  epsilon: 101\n", "privacy.epsilon: expected at most 100"),
        ("  epsilon: 3\n", "  epsilon: .inf\n", "privacy.epsilon: expected a finite number"),
        ("  epsilon: 3\n", "  epsilon: yes\n", "privacy: epsilon expects a number, got a yes or a no"),
        ("  epsilon: 3\n", "  epsilon:\n", "privacy.epsilon: expected a number, or the word none for no privacy"),
        ("  epsilon: 3\n", "", "privacy.epsilon: missing"),
        ("delta: 0.001", "delta: 1", "privacy.delta: expected less than 1"),
        ("clipping_norm: 1.5", "clipping_norm: -1", "privacy.clipping_norm: expected at least"),
        ("minimum: 3", "minimum: 2", "minimum is 2, expected at least 3 (3, and colluders + 2)"),
        ("maximum: 8", "maximum: 8, colluders: 2", "minimum is 3, expected at least 4 (3, and colluders + 2)"),
        ("maximum: 8", "maximum: 2", "maximum is 2, expected at least the minimum of 3"),
        ("maximum: 8", "maximum: 65", "cohort.maximum: expected at most 64"),
        ("rounds: 4\n", "rounds: 0\n", "training.rounds: expected at least 1"),
        ("rounds: 4\n", "rounds: 4.5\n", "training.rounds: expected a whole number"),
        ("sampling_rate: 0.25", "sampling_rate: 25", "training.sampling_rate: expected at most 1"),
        ("sampling_rate: 0.25", "sampling_rate: 25%", "training.sampling_rate: expected a number"),
        ("learning_rate: 0.5", "learning_rate: 0", "training.learning_rate: expected at least"),
        ("learning_rate: 0.5", "learning_rate: 0.5\n  weights: equal", "expected 'uniform' or 'patients'"),
        ("rounds: [2, 4]", "rounds: [2, 5]", "evaluation.rounds names round 5, training.rounds is 4"),
        ("rounds: [2, 4]", "rounds: [4, 2]", "evaluation.rounds: expected rising round numbers, each once"),
        ("rounds: [2, 4]", "rounds: [2, 2]", "evaluation.rounds: expected rising round numbers, each once"),
        ("rounds: [2, 4]", "rounds: [0]", "evaluation.rounds: expected at least 1, got 0"),
        ("bins: 10", "bins: 7", "evaluation.bins: expected a multiple of 2"),
        ("  bins: 10\n  epsilon: none\n", "", "evaluation.epsilon: missing; write none if test patients are not"),
        ("low: 20, high: 80", "low: 80, high: 20", "expected low < high, got 80 and 20"),
        ("low: 20, high: 80", "low: 20, high: 20", "expected low < high, got 20 and 20"),
        ("kind: number", "kind: numeric", "data.features.0.kind: expected 'number', 'category', 'date', 'text', got"),
        ("values: [f, m]", "values: [f]", "values: expected at least 2 entries, got 1"),
        ("values: [f, m]", "values: [f, f]", "a value is listed twice"),
        ("values: [f, m]", "values: [no, f]", "values.0: expected text; put it in quotes if YAML reads it as a"),
        ("name: sex", "name: age", "a column has one role; used twice: age"),
        ("name: sex", "name: ill", "a column has one role; used twice: ill"),
        ("patient: id", "patient: age", "a column has one role; used twice: age"),
        ('negative: ["no"]', 'negative: ["no", "yes"]', "a word is both positive and negative"),
        ('positive: ["yes"]', "positive: []", "positive: expected at least 1 entries, got 0"),
        ("value_range: 4", "value_range: 4, scheme: ckks", "secure_aggregation.scheme: expected 'bfv'"),
        ("value_range: 4", "value_range: 4, bits: 32", "secure_aggregation.bits: expected at most 24"),
        (
            "value_range: 4", "value_range: wide",
            "secure_aggregation.value_range: expected a number, or the word auto; got 'wide'",
        ),
        (
            "value_range: 4", "value_range:",
            "secure_aggregation.value_range: expected a number, or the word auto; got nothing",
        ),
        ("value_range: 4", "value_range: 0", "secure_aggregation.value_range: expected at least 1e-09"),
        ("name: golden", "name: golden\nname: other", "the key 'name' is written twice"),
    ],
)  # fmt: skip
def test_study_file_with_a_mistake_is_refused_with_its_sentence(
    tmp_path: Path, old: str, new: str, sentence: str
) -> None:
    with pytest.raises(TermsError) as caught:
        spoiled(tmp_path, (old, new))
    assert sentence in str(caught.value)


def test_protected_evaluation_without_protected_training_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TermsError, match=r"evaluation\.epsilon needs privacy\.epsilon: protect training first"):
        spoiled(
            tmp_path,
            ("  epsilon: 3\n  delta: 0.001\n  clipping_norm: 1.5\n", "  epsilon: none\n"),
            ("  bins: 10\n  epsilon: none", "  epsilon: 1"),
        )


def test_study_without_privacy_says_so_in_one_word(tmp_path: Path) -> None:
    terms = spoiled(tmp_path, ("  epsilon: 3\n  delta: 0.001\n  clipping_norm: 1.5\n", "  epsilon: none\n"))
    assert terms.privacy.epsilon is None
    assert json.loads(terms.to_bytes())["privacy"]["epsilon"] == "none"
    assert parse_terms(json.loads(terms.to_bytes())) == terms


def test_study_without_evaluation_needs_no_word_on_test_patients(tmp_path: Path) -> None:
    terms = spoiled(tmp_path, ("evaluation:\n  rounds: [2, 4]\n  bins: 10\n  epsilon: none\n", ""))
    assert terms.evaluation.rounds == ()
    assert terms.last_round == 4


def test_number_with_an_exponent_is_the_number(tmp_path: Path) -> None:
    """YAML 1.1 reads 1e-3 as a word."""
    assert spoiled(tmp_path, ("0.001", "1e-3")) == golden_terms()


def test_digest_is_the_same_whatever_the_order_of_keys(tmp_path: Path) -> None:
    def reversed_keys(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: reversed_keys(value[key]) for key in reversed(value)}
        return [reversed_keys(each) for each in value] if isinstance(value, list) else value

    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(reversed_keys(yaml.safe_load(TEXT)), sort_keys=False), encoding="utf-8")
    assert path.read_text().index("evaluation") < path.read_text().index("training")
    assert read_terms(path).digest == golden_terms().digest


def test_version_of_the_model_is_in_the_bytes_only_where_it_is_written(tmp_path: Path) -> None:
    assert "version" not in json.loads(golden_terms().to_bytes())["model"]
    named = parse_terms({**yaml.safe_load(TEXT), "model": {**yaml.safe_load(TEXT)["model"], "version": 2}})
    assert json.loads(named.to_bytes())["model"]["version"] == 2
    assert parse_terms(json.loads(named.to_bytes())) == named
    assert named.digest != golden_terms().digest
    assert (named.model.label, golden_terms().model.label) == (f"{named.model.name}@2", named.model.name)


def test_terms_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        golden_terms().privacy.epsilon = 100.0


@settings(max_examples=50)
@given(
    epsilon=st.none() | st.floats(0.01, 100),
    delta=st.floats(1e-12, 0.5),
    norm=st.floats(1e-4, 1e4),
    rate=st.floats(1e-6, 1),
    sites=st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20)),
    rounds=st.sets(st.integers(1, 50)),
    purpose=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
)
def test_terms_read_back_from_their_bytes_are_equal(
    epsilon: float | None,
    delta: float,
    norm: float,
    rate: float,
    sites: tuple[int, int, int],
    rounds: set[int],
    purpose: str,
) -> None:
    colluders, more, most = sites
    minimum = max(3, colluders + 2) + more
    promise: dict[str, Any] = {"epsilon": "none"}
    if epsilon is not None:
        promise = {"epsilon": epsilon, "delta": delta, "clipping_norm": norm}
    value = {
        **yaml.safe_load(TEXT),
        "purpose": purpose,
        "privacy": promise,
        "training": {"rounds": 50, "local_steps": 1, "sampling_rate": rate, "learning_rate": norm},
        "cohort": {"minimum": minimum, "maximum": minimum + most, "colluders": colluders},
        "evaluation": {"rounds": sorted(rounds), "epsilon": "none"},
    }
    terms = parse_terms(value)
    again = parse_terms(json.loads(terms.to_bytes()))
    assert again == terms
    assert again.digest == terms.digest


def test_last_round_is_one_more_when_the_final_model_is_evaluated(tmp_path: Path) -> None:
    both = golden_terms()
    assert both.last_round == 5
    assert [both.trains(number) for number in (1, 4, 5)] == [True, True, False]
    assert spoiled(tmp_path, ("rounds: [2, 4]", "rounds: [2]")).last_round == 4


def test_round_carries_totals_of_the_model_that_the_terms_name() -> None:
    terms = golden_terms()
    assert [terms.evaluates(number, number - 1) for number in range(1, 6)] == [False, False, True, False, True]
    assert terms.evaluates(4, 2)  # round 3 was void
    assert terms.evaluates(5, 3)  # round 4 was void: the closing evaluation is of what there is


def test_inputs_count_values_words_and_indicators() -> None:
    contract = golden_terms().data
    assert isinstance(contract, TableContract)
    assert contract.width == (1 + 1) + (2 + 1)
    assert [tensor.shape for tensor in contract.list_inputs()] == [(contract.width,)]
    assert golden_terms().training.lots == 3
