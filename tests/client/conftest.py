"""A site's folder with a study file and two tables beside it."""

from pathlib import Path

import pytest

from benchmarks.small_study import small_terms, write_patients, write_study
from client.site.folder import SiteFolder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The site 'ash', with ``study.yaml``, ``train.csv`` (64 patients) and ``test.csv`` (30) beside its folder."""
    SiteFolder.create(tmp_path / "ash", "ash")
    write_study(tmp_path / "study.yaml", small_terms())
    write_patients(tmp_path / "train.csv", 64, "a", seed=1)
    write_patients(tmp_path / "test.csv", 30, "b", seed=2)
    return tmp_path / "ash"
