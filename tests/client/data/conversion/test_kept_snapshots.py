"""Snapshots in a site's folder: made whole or not at all, found again, removed when nobody uses them."""

import contextlib
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.small_study import small_terms, write_csv
from client.data.conversion.kept_snapshots import (
    find_current,
    find_snapshot,
    is_intact,
    make_snapshot,
    read_report,
    remove_unused,
)
from client.data.conversion.report import ConversionError
from client.data.site_data import read_data
from client.site.folder import SiteFolder
from privacy.errors import Error, SiteConfigError
from tests.client.commands.terminal import SCRIPTS
from tests.client.data.conversion.small_source import add_rows, write_mapping, write_source

CONTRACT = small_terms().data
MOST = 0.01


def list_entries(data: Path) -> list[str]:
    """What is in the folder of snapshots, without its lock."""
    return sorted(each.name for each in data.iterdir() if each.name != ".lock")


@contextlib.contextmanager
def using(*files: Path) -> Iterator[tuple[Path, ...]]:
    """What is in use."""
    yield files


def test_snapshot_is_private_and_has_the_records_of_the_source(tmp_path: Path) -> None:
    snapshot = make_snapshot(CONTRACT, write_source(tmp_path / "source"), tmp_path / "data", MOST)
    assert snapshot.report.training + snapshot.report.test == 300
    read = [read_data(CONTRACT, path) for path in (snapshot.train, snapshot.test)]
    plain = read_data(CONTRACT, tmp_path / "source" / "export.csv")
    features = {
        name: plain.patients.inputs["features"][np.array([place])][0] for place, name in enumerate(plain.ids)
    }
    for part in read:
        for place, name in enumerate(part.ids):
            np.testing.assert_array_equal(part.patients.inputs["features"][np.array([place])][0], features[name])
    assert sorted([*read[0].ids, *read[1].ids]) == sorted(plain.ids)
    for path in (tmp_path / "data", *(tmp_path / "data").rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_snapshot_of_the_same_records_is_the_same_wherever_the_site_is(tmp_path: Path) -> None:
    first = make_snapshot(CONTRACT, write_source(tmp_path / "one"), tmp_path / "data", MOST)
    second = make_snapshot(CONTRACT, write_source(tmp_path / "two"), tmp_path / "other", MOST)
    assert first.folder.name == second.folder.name
    assert first.train.read_bytes() == second.train.read_bytes()


def test_snapshot_that_is_there_is_not_made_again(tmp_path: Path) -> None:
    mapping = write_source(tmp_path / "source")
    shown = list[str]()
    first = make_snapshot(CONTRACT, mapping, tmp_path / "data", MOST, lambda what, *_: shown.append(what))
    assert shown
    shown.clear()
    again = make_snapshot(CONTRACT, mapping, tmp_path / "data", MOST, lambda what, *_: shown.append(what))
    assert (again.folder, shown) == (first.folder, [])


@pytest.mark.parametrize("change", ["source", "mapping", "gone"])
def test_snapshot_of_what_has_changed_is_not_found(tmp_path: Path, change: str) -> None:
    mapping, data = write_source(tmp_path / "source"), tmp_path / "data"
    made = make_snapshot(CONTRACT, mapping, data, MOST)
    assert find_current(CONTRACT, mapping, data) is not None
    if change == "source":
        add_rows(tmp_path / "source", "new,40,f,no")
    elif change == "mapping":
        write_mapping(tmp_path / "source", split={"by": "fraction", "test": 0.5})
    else:
        (tmp_path / "source" / "export.csv").unlink()
    assert find_current(CONTRACT, mapping, data) is None
    if change != "gone":
        newer = make_snapshot(CONTRACT, mapping, data, MOST)
        told = "export.csv changed" if change == "source" else "the mapping file changed"
        assert made.report.list_changes(newer.report) == [told]


def test_list_of_held_out_patients_is_a_source(tmp_path: Path) -> None:
    held = tmp_path / "source" / "held.txt"
    mapping = write_source(tmp_path / "source", split={"by": "patients", "test": "held.txt"})
    held.write_text("a1\na2\nnobody\n")
    made = make_snapshot(CONTRACT, mapping, tmp_path / "data", MOST)
    assert made.report.test == 2
    assert made.report.notes == ("split: 1 patients of the list of held-out ones have no record that can be used",)
    held.write_text("a1\na3\n")
    newer = make_snapshot(CONTRACT, mapping, tmp_path / "data", MOST)
    assert made.report.list_changes(newer.report) == ["held.txt changed"]


def test_snapshot_that_is_damaged_is_made_again_with_the_same_bytes(tmp_path: Path) -> None:
    mapping = write_source(tmp_path / "source")
    made = make_snapshot(CONTRACT, mapping, tmp_path / "data", MOST)
    whole = made.train.read_bytes()
    made.train.write_bytes(whole[:-100])
    assert not is_intact(made.folder, made.report)
    again = make_snapshot(CONTRACT, mapping, tmp_path / "data", MOST)
    assert (again.folder, again.train.read_bytes()) == (made.folder, whole)
    (made.folder / "snapshot.json").write_text("{}")
    with pytest.raises(SiteConfigError, match=r"snapshot\.json"):
        read_report(made.folder)
    assert find_current(CONTRACT, mapping, tmp_path / "data") is None


def test_items_past_the_share_of_the_policy_refuse_the_source_and_list_every_place(tmp_path: Path) -> None:
    mapping = write_source(tmp_path / "source")
    add_rows(tmp_path / "source", *(f"new{number},40,f,perhaps" for number in range(4)))
    with pytest.raises(
        ConversionError, match=r"4 of 304 items \(1\.32%\) cannot be used, the policy's most"
    ) as caught:
        make_snapshot(CONTRACT, mapping, tmp_path / "data", MOST)
    assert "perhaps" not in str(caught.value)
    assert [(each.count, len(each.places)) for each in caught.value.report.quarantined] == [(4, 4)]
    assert list_entries(tmp_path / "data") == ["refused.csv"]
    listed = (tmp_path / "data" / "refused.csv").read_text().splitlines()
    assert [line.rsplit(",", 3)[1:] for line in listed[1:]] == [
        ["export.csv", str(line), "ill"] for line in range(302, 306)
    ]
    made = make_snapshot(CONTRACT, mapping, tmp_path / "data", 0.02)
    assert (tmp_path / "data" / "refused.csv").exists() is False
    assert made.quarantine.read_text().splitlines() == listed


def test_item_with_two_reasons_counts_once(tmp_path: Path) -> None:
    mapping = write_source(tmp_path / "source", patients=99)
    add_rows(tmp_path / "source", "new,old,unknown,perhaps")
    made = make_snapshot(CONTRACT, mapping, tmp_path / "data", MOST)  # 1 of 100
    assert made.report.training + made.report.test == 99
    assert sum(each.count for each in made.report.quarantined) == 3


def test_source_without_a_usable_row_is_refused(tmp_path: Path) -> None:
    mapping = write_source(tmp_path / "source")
    write_csv(tmp_path / "source" / "export.csv", ["p1,40,f,perhaps"])
    with pytest.raises(ConversionError, match="gives no record: 1 left out: column 'ill'"):
        make_snapshot(CONTRACT, mapping, tmp_path / "data", 1.0)


def test_every_mistake_of_a_source_is_told_at_once(tmp_path: Path) -> None:
    mapping = write_source(tmp_path / "source")
    write_csv(tmp_path / "source" / "export.csv", ["p1,40"], header="id,Age")
    with pytest.raises(ConversionError, match=r"lacks 3 columns of the mapping: .*did you mean 'Age' for 'age'"):
        make_snapshot(CONTRACT, mapping, tmp_path / "data", MOST)
    assert list_entries(tmp_path / "data") == []


def test_mapping_to_another_contract_is_refused_and_makes_nothing(tmp_path: Path) -> None:
    mapping = write_source(tmp_path / "source", contract="other")
    with pytest.raises(SiteConfigError, match="leads to the contract 'other', the study's is 'small'"):
        make_snapshot(CONTRACT, mapping, tmp_path / "data", MOST)
    assert not (tmp_path / "data").exists()


def test_unused_snapshots_are_removed_and_those_in_use_or_in_hand_are_not(tmp_path: Path) -> None:
    mapping, data = write_source(tmp_path / "source"), tmp_path / "data"
    used = make_snapshot(CONTRACT, mapping, data, MOST)
    add_rows(tmp_path / "source", "new,40,f,no")
    in_hand = make_snapshot(CONTRACT, mapping, data, MOST)
    assert remove_unused(data, using(used.train, used.test)) == 0
    folder = in_hand.folder
    del in_hand
    assert remove_unused(data, using(used.train, used.test)) == 1
    assert list_entries(data) == [used.folder.name]
    assert not folder.exists()
    assert find_snapshot(used.train, data) is not None
    assert find_snapshot(tmp_path / "source" / "export.csv", data) is None


@pytest.fixture
def large(tmp_path: Path) -> list[str]:
    """A site beside a source that takes seconds to convert; the command that does it."""
    SiteFolder.create(tmp_path / "ash", "ash")
    source = tmp_path / "source"
    write_source(source)
    write_csv(source / "export.csv", [f"p{number},{20 + number % 60},f,no" for number in range(400_000)])
    return [
        str(SCRIPTS / "consilium-site"), "--dir", str(tmp_path / "ash"), "data", "check", str(source / "study.yaml"),
        "--mapping", str(source / "mapping.yaml"),
    ]  # fmt: skip


def wait_until_it_writes(data: Path, process: subprocess.Popen[str]) -> None:
    """Wait until a conversion has written records."""
    while not any(part.stat().st_size for part in data.glob(".making-*/.train.npz.*.part")):
        assert process.poll() is None, "it ended before it was seen to write"
        time.sleep(0.02)


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_conversion_that_is_ended_leaves_no_half_snapshot(
    tmp_path: Path, large: list[str], sent: signal.Signals
) -> None:
    data = tmp_path / "ash" / "data"
    with subprocess.Popen(large, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        wait_until_it_writes(data, process)
        process.send_signal(sent)
        said = process.communicate(timeout=60)[1]
    assert "Traceback" not in said
    if sent is signal.SIGINT:
        assert (process.returncode, list_entries(data)) == (130, [])
    assert all(name.startswith(".making-") for name in list_entries(data))
    write_source(tmp_path / "source")
    made = make_snapshot(CONTRACT, tmp_path / "source" / "mapping.yaml", data, MOST)
    assert list_entries(data) == [made.folder.name]


def test_conversion_onto_a_disk_without_room_is_one_sentence(tmp_path: Path, large: list[str]) -> None:
    """A limit of a file's size fails a write as a full disk does."""
    ended = subprocess.run(
        large,
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)),
        check=False,
    )
    data = tmp_path / "ash" / "data"
    assert ended.returncode == 31
    assert ended.stderr.count("\n") == 1
    assert "the converted records cannot be written: File too large; make room" in ended.stderr
    assert list_entries(data) == []


def test_two_conversions_at_once_give_one_snapshot(tmp_path: Path) -> None:
    SiteFolder.create(tmp_path / "ash", "ash")
    source = tmp_path / "source"
    mapping = write_source(source)
    command = [
        str(SCRIPTS / "consilium-site"), "--dir", str(tmp_path / "ash"), "data", "check", str(source / "study.yaml"),
        "--mapping", str(mapping),
    ]  # fmt: skip
    both = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(2)]
    assert [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert len(list_entries(tmp_path / "ash" / "data")) == 1


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_mapping_and_source_with_any_bytes_changed_give_a_sentence_or_a_snapshot(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("mutated")
    mapping = write_source(folder, patients=12, split={"by": "fraction", "test": 0.3})
    for path in (mapping, folder / "export.csv"):
        whole = bytearray(path.read_bytes())
        for place in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=3)):
            whole[place] = data.draw(st.integers(0, 255))
        path.write_bytes(whole)
    try:
        made = make_snapshot(CONTRACT, mapping, folder / "data", 1.0)
    except Error:  # a sentence; anything else fails the test
        assert not (folder / "data").exists() or set(list_entries(folder / "data")) <= {"refused.csv"}
    else:
        assert made.report.training + made.report.test <= 12
        assert is_intact(made.folder, made.report)
