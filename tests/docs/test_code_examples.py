"""Examples in docstrings (``>>>``) do what they say, and stand where a stranger begins to read."""

import doctest
import importlib
import re

import pytest

from tests.docs.architecture import PACKAGES
from tests.docs.pages import ROOT

MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
    if re.search(r"^\s*>>> ", path.read_text(encoding="utf-8"), re.MULTILINE)
)
ENTRANCES = (
    "privacy.accounting.epsilon",
    "privacy.accounting.calibration",
    "privacy.mechanisms.distributed_noise",
    "privacy.dpsgd",
    "privacy.secure_aggregation",
    "privacy.ledger",
    "privacy.audit.read_ledger",
)


@pytest.mark.parametrize("module", MODULES)
def test_example_in_a_docstring_holds(module: str) -> None:
    found = doctest.testmod(importlib.import_module(module))
    assert found.attempted
    assert not found.failed


@pytest.mark.parametrize("module", ENTRANCES)
def test_module_that_a_stranger_calls_first_has_an_example(module: str) -> None:
    assert module in MODULES
