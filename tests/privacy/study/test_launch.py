"""A launch: terms and roster under one digest and one signature."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from privacy.errors import WireError
from privacy.keys import PublicKey
from privacy.study.launch import Launch, SignedLaunch, SignedLaunchOrder, verify_order
from tests.privacy.launch_makers import (
    COORDINATOR_KEY,
    OPERATOR_KEY,
    SITE_KEYS,
    golden_launch,
    golden_terms,
    key_number,
    launch_of,
)

GOLDEN: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "documents.json").read_text(encoding="utf-8")
)


def test_launch_is_the_golden_one() -> None:
    signed = golden_launch()
    assert signed.model_dump(mode="json") == GOLDEN["launch"]
    assert signed.statement.digest == GOLDEN["launch_sha256"]
    assert signed.statement.study == GOLDEN["study"]
    assert signed.verify(PublicKey.from_text(GOLDEN["coordinator"])).terms == golden_terms()


def test_launch_read_back_from_its_bytes_is_equal() -> None:
    assert SignedLaunch.model_validate_json(golden_launch().to_bytes()) == golden_launch()


def test_launch_signed_by_another_is_refused() -> None:
    with pytest.raises(WireError, match="a signature is not by the key"):
        SignedLaunch.sign(key_number(9), golden_launch().statement).verify(COORDINATOR_KEY.public)


def test_study_of_the_same_terms_launched_again_is_another() -> None:
    launch = golden_launch().statement
    first = launch.study
    assert launch.model_copy(update={"nonce": "f" * 32}).study != first
    assert launch.model_copy().study == first


def test_study_with_another_key_on_its_roster_is_another() -> None:
    assert launch_of(golden_terms(), {**SITE_KEYS, "cedar": key_number(9)}).study != golden_launch().statement.study


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"roster": ["birch", "ash", "cedar"]}, "expected site names in rising order, each once"),
        ({"roster": ["ash", "ash", "cedar"]}, "expected site names in rising order, each once"),
        ({"roster": ["ash", "birch"]}, r"2 sites, the terms allow 3 to 8 \(cohort\)"),
        ({"nonce": "F" * 32}, "nonce"),
        ({"nonce": "0" * 31}, "nonce"),
        ({"parameters": 0}, "parameters"),
        ({"federation": "A Wood"}, "federation"),
        ({"code": "import os"}, "Extra inputs are not permitted"),
    ],
)
def test_launch_that_is_not_coherent_is_refused(change: dict[str, Any], sentence: str) -> None:
    if "roster" in change:
        names = change["roster"]
        change = {
            "roster": [{"name": name, "identity": key_number(20 + i).public.text} for i, name in enumerate(names)]
        }
    value = {**golden_launch().statement.model_dump(), **change}
    with pytest.raises(ValidationError, match=sentence):
        Launch.model_validate(value)


def test_launch_with_one_key_twice_is_refused() -> None:
    with pytest.raises(ValidationError, match="two sites have the same identity key"):
        launch_of(golden_terms(), {**SITE_KEYS, "cedar": SITE_KEYS["ash"]})


# the order ------------------------------------------------------------------------------------------------


def test_order_of_exactly_this_launch_is_accepted() -> None:
    order = verify_order(golden_launch().statement)
    assert (order.operator, order.key) == ("ada", OPERATOR_KEY.public.text)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"federation": "sea"}, "federation"),
        ({"parameters": 30}, "number of parameters"),
        ({"nonce": "f" * 32}, "nonce"),
        ({"terms": golden_terms().model_copy(update={"purpose": "Another one."})}, "terms"),
    ],
)
def test_launch_of_something_that_the_operator_did_not_order_is_refused(change: dict[str, Any], what: str) -> None:
    launch = golden_launch().statement.model_copy(update=change)
    with pytest.raises(WireError, match=f"the operator 'ada' ordered another launch: the {what} differ"):
        verify_order(launch)


def test_launch_over_a_site_that_the_operator_did_not_name_is_refused() -> None:
    other = launch_of(golden_terms(), {**SITE_KEYS, "puppet": key_number(9)})
    launch = golden_launch().statement.model_copy(update={"roster": other.roster})
    with pytest.raises(WireError, match="the sites differ"):
        verify_order(launch)


def test_order_that_another_key_signed_is_refused() -> None:
    launch = golden_launch().statement
    forged = SignedLaunchOrder.sign(key_number(9), launch.order.statement)
    with pytest.raises(WireError, match="not signed by the operator's key that it names"):
        verify_order(launch.model_copy(update={"order": forged}))
