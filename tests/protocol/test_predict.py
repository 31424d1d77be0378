"""What a finished study releases can be used by somebody who was not in it."""

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.small_study import small_terms
from client.cli import cli
from models.tasks.binary import BinaryTask
from tests.simulator import Simulator


def test_released_model_predicts_for_a_stranger_what_the_site_has_scored(tmp_path: Path) -> None:
    simulator = Simulator(tmp_path / "wood", small_terms())
    simulator.launch()
    simulator.run()
    studies = {name: home.find_study_folder(simulator.study) for name, home in simulator.homes.items()}
    shared = {(folder / "release" / "contract.json").read_bytes() for folder in studies.values()}
    assert len(shared) == 1
    received = shutil.copytree(studies["ash"] / "release", tmp_path / "received")
    table = simulator.homes["ash"].folder / "test.csv"
    own = json.loads((studies["ash"] / "own-figures.json").read_bytes())["global"]
    card = (received / "card.md").read_text()
    simulator.close()
    done = CliRunner().invoke(cli, ["predict", str(received), str(table)], catch_exceptions=False)
    predictions = list(csv.DictReader(io.StringIO(done.stdout)))
    labels = [row["ill"] for row in csv.DictReader(table.read_text().splitlines())]
    counts = [0] * 20  # 10 bins of the negatives, 10 of the positives
    for row, label in zip(predictions, labels, strict=True):
        counts[10 * (label == "yes") + min(9, int(float(row["probability"]) * 10))] += 1
    assert own == {"patients": len(labels), "figures": pytest.approx(BinaryTask().compute_figures(counts, 10))}
    assert "A probability of 0.5 or more is a positive prediction" in card
