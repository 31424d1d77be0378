"""Which snapshots a site keeps: those of registrations, and those of studies in progress."""

from pathlib import Path

import pytest

from benchmarks.small_study import small_terms, write_patients
from client.data.conversion.kept_snapshots import make_snapshot
from client.data.dataset import StudyFiles
from client.study.used_data import list_used_files, remove_unused_snapshots
from client.training.interface import TrainingInterface
from privacy.errors import SiteConfigError
from privacy.files import take_lock
from privacy.study import Terms
from tests.client.commands.terminal import site
from tests.client.data.conversion.small_source import add_rows, write_source
from tests.simulator import Simulator

THREE = ("ash", "birch", "cedar")


def write_mapped_files(folder: Path, name: str, number: int) -> tuple[Path, Path]:
    """A site's snapshot of a source of its own, beside its folder."""
    source = folder.parent / f"{name}-source"
    mapping = write_source(source)
    write_patients(source / "export.csv", 100 + 10 * number, f"{name}-", seed=number)
    snapshot = make_snapshot(small_terms().data, mapping, folder / "data", 0.01)
    return snapshot.train, snapshot.test


class LockedSimulator(Simulator):
    """Looks, in the middle of every admission, whether snapshots could be removed now."""

    def _make_trainer(self, name: str, terms: Terms, files: StudyFiles) -> TrainingInterface:
        self.free = getattr(self, "free", 0) + (take_lock(self.homes[name].folder / "admission.lock") is not None)
        return super()._make_trainer(name, terms, files)


@pytest.fixture
def simulator(tmp_path: Path) -> Simulator:
    """Three sites whose data are snapshots."""
    return LockedSimulator(tmp_path / "wood", small_terms(), THREE, write_mapped_files)


def test_study_in_progress_keeps_its_snapshot_until_it_is_closed(tmp_path: Path, simulator: Simulator) -> None:
    home, source = simulator.homes["ash"], tmp_path / "wood" / "ash-source"
    (old,) = [each.parent for each in home.snapshots.glob("*/snapshot.json")]
    simulator.launch()
    simulator.run(lambda: simulator.all_have(1))
    add_rows(source, *(f"late{number},50,f,yes" for number in range(20)))
    study = str(source / "study.yaml")
    said = site(home.folder, "data", "add", study, "--mapping", str(source / "mapping.yaml")).stderr
    assert "removed" not in said
    (new,) = [each.parent for each in home.snapshots.glob("*/snapshot.json") if each.parent != old]
    assert list_used_files(home) == {folder / name for folder in (old, new) for name in ("train.npz", "test.npz")}
    simulator.run()
    assert simulator.released_model("ash")
    assert "removed 1 snapshot that nobody uses any more" in site(home.folder, "data", "clean").stderr
    assert [each.parent for each in home.snapshots.glob("*/snapshot.json")] == [new]
    assert "every snapshot is in use" in site(home.folder, "data", "clean").stderr
    simulator.close()


def test_nothing_is_removed_while_a_study_is_admitted(simulator: Simulator) -> None:
    simulator.launch()
    simulator.run(lambda: simulator.all_have(0))
    assert getattr(simulator, "free") == 0  # noqa: B009
    assert (descriptor := take_lock(simulator.homes["ash"].folder / "admission.lock")) is not None
    assert descriptor
    simulator.close()


def test_state_that_cannot_be_read_keeps_every_snapshot(tmp_path: Path, simulator: Simulator) -> None:
    home, source = simulator.homes["ash"], tmp_path / "wood" / "ash-source"
    simulator.launch()
    simulator.run(lambda: simulator.all_have(0))
    add_rows(source, "late,50,f,yes")
    make_snapshot(small_terms().data, source / "mapping.yaml", home.snapshots, 0.01)
    (home.find_study_folder(simulator.study) / "state.json").write_text("{")
    with pytest.raises(SiteConfigError, match=r"state\.json: cannot be used"):
        remove_unused_snapshots(home)
    assert len(list(home.snapshots.glob("*/snapshot.json"))) == 2
    simulator.close()
