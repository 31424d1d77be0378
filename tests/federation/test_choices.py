"""What a study may choose, at real sites: where the noise is, what is sampled, how updates are sealed.

Then an auditor looks at everything.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.running_federation import Running, command, running
from benchmarks.small_study import small_terms
from privacy.study import Terms

pytestmark = pytest.mark.federation

SITES = ("ash", "birch", "cedar")
ROUNDS = [1, 2]
DISTRIBUTED: dict[str, Any] = {
    "training": {"rounds": 2, "local_steps": 1},
    "privacy": {"placement": "distributed"},
    "secure_aggregation": {"value_range": "auto", "bits": 20},
}
WHOLE_SITES: dict[str, Any] = {
    "training": {"rounds": 2, "weights": "uniform"},
    "privacy": {"unit": "site", "placement": "distributed", "epsilon": 0.1, "adaptive_clipping": {}},
    "cohort": {"participation": 0.5},
    "secure_aggregation": {"value_range": 300.0, "bits": 20},
}
CHOICES: dict[str, tuple[dict[str, Any], str]] = {
    "variates": (
        {"training": {"control_variates": True, "accumulate": 2, "server": {"rule": "adam"}}},
        "sampled-gaussian",
    ),
    "distributed": (DISTRIBUTED, "distributed-gaussian"),
    "whole-sites": (WHOLE_SITES, "site-updates"),
    "record": ({"privacy": {"unit": "record", "epsilon": 1}}, "bounded-contribution"),
    "open": ({"secure_aggregation": {"scheme": "open"}, "privacy": {"epsilon": 0.5}}, "sampled-gaussian"),
}

SIMULATED = ("variates", "record")
"""Choices of what a site computes alone, which federations in memory show in every run."""


def terms(choice: str) -> Terms:
    return small_terms(**CHOICES[choice][0]).model_copy(update={"name": choice})


@pytest.fixture(scope="module")
def wood(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("wood"), SITES, terms("variates")) as federation:
        yield federation


@pytest.mark.parametrize(
    "choice", [pytest.param(each, marks=pytest.mark.long if each in SIMULATED else ()) for each in CHOICES]
)
def test_study_ends_with_one_model_and_the_right_events(wood: Running, choice: str) -> None:
    study = wood.launch(terms(choice))
    history = wood.finish(study)
    assert sorted(history.committed) == [*ROUNDS, 3]
    wood.released(study)
    for name in SITES:
        assert wood.paid(name, study) == (ROUNDS, ROUNDS)
        events = [body["event"]["kind"] for body in wood.ledger(name, "reserve") if body["study"] == study]
        assert set(events) == {CHOICES[choice][1]}
        card = (wood.folder / name / "studies" / study / "release" / "card.md").read_text()
        assert ("**not sealed**" in card) == (choice == "open")


def test_auditor_reconciles_and_reports(wood: Running, tmp_path: Path) -> None:
    testimony = tmp_path / "testimony.jsonl"
    said = wood.consilium("testimony", "export", testimony)
    assert said.code == 0, said.err
    exports = []
    for name in SITES:
        exports.append(tmp_path / f"{name}.jsonl")
        said = wood.site(name, "ledger", "export", exports[-1])
        assert said.code == 0, said.err
    found = command("consilium-audit", "reconcile", testimony, *exports, "--json")
    assert found.code == 0, found.err
    assert (found.json["contradictions"], found.json["findings"]) == (0, [])
    for export in exports:
        page = export.with_suffix(".html")
        report = command("consilium-audit", "report", export, "-o", page)
        assert report.code == 0, report.err
        assert "<svg" in page.read_text()
    assert sorted(found.json["sites"]) == list(SITES)
