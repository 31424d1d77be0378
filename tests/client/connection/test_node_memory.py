"""A successor takes over the node of a killed agent, and of nobody else."""

from pathlib import Path

import pytest

from client.connection import node_memory
from client.connection.node_memory import NodeMemory


def test_successor_takes_over_once(tmp_path: Path) -> None:
    NodeMemory(tmp_path / "node.json").keep(2**63 + 5)
    successor = NodeMemory(tmp_path / "node.json")
    assert successor.take() == 2**63 + 5
    assert successor.take() is None, "a second refusal means that another agent is there"


def test_copy_of_the_folder_takes_over_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    NodeMemory(tmp_path / "a" / "node.json").keep(7)
    (tmp_path / "b" / "node.json").write_bytes((tmp_path / "a" / "node.json").read_bytes())
    assert NodeMemory(tmp_path / "b" / "node.json").take() is None


def test_machine_that_was_started_again_takes_over_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk may have been copied to another machine meanwhile."""
    NodeMemory(tmp_path / "node.json").keep(7)
    (tmp_path / "boot").write_text("another\n")
    monkeypatch.setattr(node_memory, "_BOOT_ID", tmp_path / "boot")
    assert NodeMemory(tmp_path / "node.json").take() is None


@pytest.mark.parametrize("content", [b"", b"{", b'{"node":"x"}', b'{"boot":"","node":"1","path":""}'])
def test_damaged_note_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "node.json").write_bytes(content)
    assert NodeMemory(tmp_path / "node.json").take() is None
