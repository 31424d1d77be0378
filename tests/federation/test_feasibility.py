"""``consilium study feasibility`` over real processes: one site waits for its people."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml

from benchmarks.running_federation import Running, wait_for
from benchmarks.small_study import small_terms, write_study
from privacy.study import read_terms

pytestmark = pytest.mark.federation
NAMES = ("ash", "birch", "cedar")


def allow_statistics(wood: Running, name: str, **changes: object) -> None:
    """What the data protection officer of a site writes into its policy."""
    path = wood.folder / name / "policy.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"statistics": "anybody", **changes}))


@pytest.fixture
def wood(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Three sites with data; birch and cedar give statistics without asking a person, ash asks its people."""
    wood = Running(tmp_path_factory.mktemp("feasibility") / "wood", NAMES)  # a socket's path is short
    wood.register_data(small_terms())
    rule = {"name": "counts", "epsilon_at_most": 3, "statistics": True}
    for name in NAMES:
        allow_statistics(wood, name, automatic=[] if name == "ash" else [rule])
    try:
        wood.start()
        wood.wait_until_online()
        yield wood
    finally:
        wood.end()


def test_feasibility_waits_for_the_people_of_a_site_and_ends_with_a_page(wood: Running, tmp_path: Path) -> None:
    trains = write_study(tmp_path / "study.yaml", small_terms())
    question = tmp_path / "question.yaml"
    asked = ("study", "feasibility", trains, "--epsilon", "3", "--pair", "age", "ill", "--terms", question)
    assert wood.consilium(*asked).code == 0
    page = tmp_path / "page.html"
    program = Path(sys.executable).parent / "consilium"
    words: list[str | Path] = [program, "--dir", wood.folder / "coordinator", "study", "feasibility", question]
    asking = subprocess.Popen(
        [*words, "--out", page, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_for("ash to ask its people", lambda: "waits for a decision" in wood.log("ash"), 90)
        study = json.loads(wood.site("ash", "status", "--json").out)["waiting"][0]["study"]
        agreed = wood.site("ash", "approve", study, "--by", "Ada", "--yes")
        assert agreed.code == 0, agreed.err
        assert "the coordinator and the sites that take part, of all sites together" in agreed.out
        out, err = asking.communicate(timeout=120)
    finally:
        asking.kill()
    assert asking.returncode == 0, err
    found = json.loads(out)
    table = pd.concat(
        pd.read_csv(wood.folder / name / f"{part}.csv") for name in NAMES for part in ("train", "test")
    )
    assert found["patients"]["value"] == pytest.approx(len(table), abs=3 * found["patients"]["error"])
    assert b"would qualify" in page.read_bytes()
    assert found["terms"] == read_terms(question).digest
    for name in NAMES:
        assert len(wood.ledger(name, "evaluate")) == 1
        assert wood.ledger(name, "reserve") == []
