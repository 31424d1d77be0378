"""The example dashboard and rules: promtool accepts them, and every metric in them is one that the programs serve."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

NAMES = re.compile(r"consilium_(?:site|coordinator)_[a-z_]+")
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is of Debian's package prometheus"
)


@pytest.fixture(scope="module")
def folder(repository: Path) -> Path:
    return repository / "deploy" / "monitoring"


@pytest.fixture(scope="module")
def served(repository: Path) -> set[str]:
    files = ("client/connection/metrics.py", "server/control/metrics.py")
    return {name for file in files for name in NAMES.findall((repository / file).read_text())}


@needs_promtool
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", "alerts.yaml"),
        ("test", "rules", "alerts-test.yaml"),
        ("check", "config", "prometheus.yaml"),
    ],
)
def test_promtool_accepts_the_files(folder: Path, arguments: tuple[str, ...]) -> None:
    done = subprocess.run(["promtool", *arguments], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_metric_of_rules_and_dashboard_is_served(folder: Path, served: set[str]) -> None:
    for name in ("alerts.yaml", "alerts-test.yaml", "grafana-dashboard.json"):
        assert set(NAMES.findall((folder / name).read_text())) <= served, name


def test_every_metric_is_documented(repository: Path, served: set[str]) -> None:
    text = (repository / "docs" / "operations.md").read_text()
    assert served <= set(NAMES.findall(text))


def test_dashboard_has_unique_panels_and_reads_the_chosen_source(folder: Path) -> None:
    dashboard = json.loads((folder / "grafana-dashboard.json").read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert {panel["datasource"]["uid"] for panel in panels} == {"${datasource}"}
    assert [each["name"] for each in dashboard["templating"]["list"]] == ["datasource"]
