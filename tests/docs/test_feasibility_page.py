"""docs/feasibility.md: its numbers are the accountant's, its question is one that sites could be asked."""

import pytest
import yaml

from models.tasks.statistics_document import describe_statistics
from privacy.accounting.calibration import compute_noise_multiplier
from privacy.study import parse_terms
from privacy.study.tasks.statistics import UNIT
from privacy.study.tasks.task import count_cells
from tests.docs.pages import ROOT, blocks, rows

PAGE = ROOT / "docs" / "feasibility.md"
SITES, COLLUDERS, DELTA = 4, 1, 0.0001
GROUPS = (4, 10, 20, 40)


def test_table_of_noise_is_what_the_formula_gives() -> None:
    found = rows(PAGE, "What it costs, and how far the noise lets anybody know")
    assert len(found) == 4
    for epsilon, sigma, *deviations in found:
        exact = compute_noise_multiplier(float(epsilon), DELTA, 1.0, 1)
        assert sigma == f"{exact:.3f}"
        expected = [exact * (groups * SITES / (SITES - COLLUDERS)) ** 0.5 for groups in GROUPS]
        assert deviations == [f"{each:.1f}" for each in expected]


def test_question_of_the_page_can_be_asked_and_has_the_noise_of_the_formula() -> None:
    terms = parse_terms(yaml.safe_load(blocks(PAGE, "yaml")[0]))
    assert terms.counts_only
    document = describe_statistics("s-12345678", terms, [0] * count_cells(terms.cell_groups), tuple("abcd"))
    assert terms.privacy.epsilon is not None
    sigma = compute_noise_multiplier(terms.privacy.epsilon, DELTA, 1.0, 1)
    expected = sigma * (len(terms.cell_groups) * SITES / (SITES - COLLUDERS)) ** 0.5
    assert document.noise_deviation == pytest.approx(expected)


def test_table_of_groups_has_the_sensitivity_of_every_group() -> None:
    terms = parse_terms(yaml.safe_load(blocks(PAGE, "yaml")[0]))
    written = {"1": 1.0, "√2": 2**0.5, "√6": 6**0.5, "3": 3.0}
    bounds = [written[row[-1]] for row in rows(PAGE, "What a patient adds")]
    used = {group.name.split()[0]: group.squared_sensitivity**0.5 / UNIT for group in terms.cell_groups}
    order = ("patients", "missing", "records", "column", "moments", "pair", "difference")
    assert len(bounds) == len(order)
    for name, bound in zip(order, bounds, strict=True):
        if name in used:
            assert used[name] == pytest.approx(bound, abs=1 / UNIT + 1e-9)
