"""Contracts of sequences, pairs and expression: the tensors that they say, and what they refuse."""

from typing import Any

import pytest

from models.fit import check_fit
from models.generated.records import generate_records
from privacy.document import parse
from privacy.errors import TermsError
from privacy.study import read_terms
from privacy.study.data.kinds import AnyContract, ContractFile
from privacy.study.data.tensors import Flags, Ids, Numbers
from privacy.study.summary import describe_inputs
from tests.docs.pages import ROOT

SEQUENCE = {"name": "signals", "alphabet": "dna", "length": 100, "encoded": "one-hot"}
COMPOUND = {"kind": "letters", "name": "compound", "alphabet": "smiles", "length": 50, "encoded": "ids"}
BITS = {"kind": "fingerprint", "name": "features", "bits": 256}
LABEL = {"name": "open", "positive": ["1"], "negative": ["0"]}
ROW = {"kind": "similarities", "name": "compound", "columns": ["a", "b"]}
AFFINITY = {"low": 5, "high": 11}


def read(**keys: Any) -> AnyContract:
    return parse(
        {"data": {"name": "people", "ranges_from": "invented"} | keys}, ContractFile, TermsError, "study"
    ).data


def sequences(more: dict[str, Any] | None = None, **keys: Any) -> AnyContract:
    return read(kind="sequences", sequence=SEQUENCE | (more or {}), **keys)


def pairs(**keys: Any) -> AnyContract:
    return read(kind="pairs", **{"protected": "compound", "inputs": [COMPOUND, BITS]} | keys)


def expression(**keys: Any) -> AnyContract:
    return read(kind="expression", **{"genes": ["A", "B", "C"], "low": 0, "high": 16} | keys)


def test_sequence_is_a_tensor_of_its_letters() -> None:
    one_hot = Numbers(type="number", name="signals", shape=(4, 100), low=0, high=1, scaled="none")
    assert sequences().list_inputs() == (one_hot,)
    assert sequences({"unknown": "own"}).list_inputs()[0].shape == (5, 100)
    assert sequences({"encoded": "ids"}).list_inputs() == (Ids(type="id", name="signals", shape=(100,), values=5),)
    protein = sequences({"encoded": "ids", "alphabet": "protein", "unknown": "own"})
    assert protein.list_inputs() == (Ids(type="id", name="signals", shape=(100,), values=27),)


def test_target_of_a_sequence_is_a_label_an_overlap_or_none() -> None:
    one = (Ids(type="id", name="label", values=2),)
    assert sequences().list_targets() == ()
    assert sequences(label=LABEL).list_targets() == one
    assert sequences(overlap={"sets": ["dnase"], "share": 0.5}).list_targets() == one
    several = sequences(overlap={"sets": ["a", "b", "c"], "share": 0.5})
    assert several.list_targets() == (Flags(type="flag", name="labels", shape=(3,)),)


def test_pair_has_the_tensors_of_deepdta_and_a_fingerprint() -> None:
    assert pairs().list_inputs() == (
        Ids(type="id", name="compound", shape=(50,), values=65),
        Numbers(type="number", name="features", shape=(256,), low=0, high=1, scaled="none"),
    )
    affinity = Numbers(type="number", name="affinity", low=5, high=11)
    assert pairs(affinity=AFFINITY).list_targets() == (affinity,)


def test_similarities_are_a_number_for_each_column() -> None:
    row = {"kind": "similarities", "name": "row", "columns": ["a", "b"], "low": -1, "scaled": "none"}
    wanted = Numbers(type="number", name="row", shape=(2,), low=-1, high=1, scaled="none")
    assert pairs(inputs=[COMPOUND, row]).list_inputs()[1] == wanted


def test_expression_is_a_number_for_each_gene() -> None:
    assert expression().list_inputs() == (Numbers(type="number", name="features", shape=(3,), low=0, high=16),)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: sequences({"unknown": "shares", "encoded": "ids"}), "shares is for one-hot DNA and RNA only"),
        (lambda: sequences({"unknown": "shares", "alphabet": "protein"}), "shares is for one-hot DNA and RNA only"),
        (lambda: sequences({"alphabet": "smiles"}), "compounds are for kind 'pairs'"),
        (
            lambda: sequences({"alphabet": "protein"}, flanks="genome"),
            "minus_strand and flanks are for DNA and RNA",
        ),
        (lambda: sequences({"name": "label"}, label=LABEL), "used twice: label"),
        (lambda: sequences(label=LABEL, overlap={"sets": ["a"], "share": 1}), "both label and overlap"),
        (lambda: sequences(overlap={"sets": ["a", "a"], "share": 1}), "a set is listed twice: a"),
        (
            lambda: sequences({"length": 10**6, "alphabet": "protein", "encoded": "ids", "name": "x y"}),
            "small letter",
        ),
        (lambda: pairs(inputs=[COMPOUND | {"lower_case": "unknown"}]), "an aromatic atom; leave lower_case out"),
        (lambda: pairs(protected="protein"), r"expected an input \(compound, features\) or person, got 'protein'"),
        (lambda: pairs(patient="compound"), "used twice: compound"),
        (lambda: pairs(affinity=AFFINITY, label=LABEL), "both label and affinity"),
        (lambda: pairs(affinity={"low": 5, "high": 5}), "expected low < high"),
        (lambda: pairs(inputs=[{"kind": "graph"}]), "kind: expected 'letters', 'fingerprint'"),
        (lambda: pairs(inputs=[ROW | {"columns": ["b", "a", "b"]}]), "columns: listed twice: b"),
        (lambda: pairs(inputs=[ROW | {"diagonal": 2}]), "diagonal: expected a value from 0 to 1, got 2"),
        (lambda: pairs(inputs=[ROW | {"low": 1}]), "expected low < high"),
        (lambda: expression(genes=["A", "B", "A"]), "genes: 1 are listed twice, for example A"),
        (lambda: expression(most_absent=0.1), "say what stands for them: absent"),
        (lambda: expression(low=16), "expected low < high"),
        (lambda: expression(input="label", label=LABEL), "used twice: label"),
    ],
)
def test_contract_with_a_contradiction_is_refused(make: Any, sentence: str) -> None:
    with pytest.raises(TermsError, match=sentence):
        make()


def test_summary_of_pairs_says_what_is_protected() -> None:
    """A data protection officer reads it before the decision: a patient is a compound here."""
    study = read_terms(ROOT / "examples" / "drugs" / "deepdta_pairs.yaml")
    found = describe_inputs(study)
    assert found["compound"].endswith("; protected, in the place of a patient: each one with all its pairs")
    assert found["protein"] == "id of 26 words, 1000"


@pytest.mark.parametrize(
    ("study", "tensor"),
    [
        ("genomics/open_chromatin.yaml", ("signals", (4, 1000))),
        ("genomics/leukaemia.yaml", ("features", (40,))),
        ("drugs/deepdta_pairs.yaml", ("compound", (100,))),
        ("drugs/similarities.yaml", ("similarity", (68,))),
    ],
)
def test_example_study_fits_its_model(study: str, tensor: tuple[str, tuple[int, ...]]) -> None:
    terms = read_terms(ROOT / "examples" / study)
    first = terms.data.list_inputs()[0]
    assert (first.name, first.shape) == tensor
    assert check_fit(terms.model, terms.data, terms.task)


@pytest.mark.parametrize("make", [sequences, pairs, expression])
def test_records_of_the_contract_can_be_generated(make: Any) -> None:
    contract = make()
    found = generate_records(contract, 5, 0)
    for each in contract.list_inputs():
        assert found.arrays[each.name].shape == (5, *each.shape)
