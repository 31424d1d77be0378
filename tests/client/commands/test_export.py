"""``consilium-site export`` says what it wrote, and refuses in a sentence."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from client.cli import cli
from privacy.errors import ReleaseError
from tests.client.prediction.released import release_table


def test_export_says_what_the_file_takes_and_gives(tmp_path: Path) -> None:
    release, _ = release_table(tmp_path)
    out = tmp_path / "m.pt2"
    done = CliRunner().invoke(cli, ["export", str(release), "--format", "archive", "--out", str(out)])
    assert done.exit_code == 0, done.exception
    assert "for each record it takes age float64 [], sex int64 []; gives probability float32 []" in done.stderr
    assert out.stat().st_size > 1000


def test_bundle_of_a_table_is_refused(tmp_path: Path) -> None:
    release, _ = release_table(tmp_path)
    done = CliRunner().invoke(
        cli, ["export", str(release), "--format", "monai-bundle", "--out", str(tmp_path / "b")]
    )
    assert isinstance(done.exception, ReleaseError)
    assert "takes one tensor of numbers; this model takes 2: age (float64), sex (int64)" in str(done.exception)


@pytest.mark.parametrize("form", ["torchscript", "pickle"])
def test_unknown_format_is_refused(form: str, tmp_path: Path) -> None:
    release, _ = release_table(tmp_path)
    done = CliRunner().invoke(cli, ["export", str(release), "--format", form, "--out", str(tmp_path / "x")])
    assert done.exit_code == 2
