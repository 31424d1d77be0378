"""The coordinator's process: what it registers with a real SuperLink."""

import logging
from pathlib import Path

import pytest

from server.control.coordinator import Coordinator
from server.federation.config import CoordinatorConfig
from server.federation.folder import Federation
from server.federation.members import Members
from server.superlink.process import find_free_port
from tests.server.federation.test_folder import request

pytestmark = pytest.mark.federation


def test_site_whose_node_key_was_removed_before_keeps_nobody_else_out(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Attack: a removed site's key comes back in a restored list of members, and others are enrolled and removed."""
    monkeypatch.setenv("PYTHONPATH", str(repository))
    config = CoordinatorConfig(
        federation="wood", host="127.0.0.1", port=find_free_port(), control_port=find_free_port()
    )
    federation = Federation.create(tmp_path / "wood", config)
    coordinator, members = Coordinator(federation), Members(federation)
    link = coordinator._superlink
    for name in ("ash", "cedar"):
        members.enrol(request(name))
    with link:
        coordinator._register_sites()
        nodes, before = federation.read_nodes(), federation.read_enrolment()
        members.remove("ash")
        coordinator._register_sites()
        assert set(link.control.list_nodes()) == {nodes["cedar"]}

        federation.write_enrolment(before)
        members.enrol(request("birch"))
        members.remove("cedar")
        with caplog.at_level(logging.WARNING):
            coordinator._keep_everything_running()
        assert "the site 'ash' cannot connect: this node key was removed before" in caplog.text
        assert set(federation.read_nodes()) == {"birch"}
        assert set(link.control.list_nodes()) == set(federation.read_nodes().values())

        (federation.folder / "superlink" / "nodes.json").unlink()
        federation.write_nodes({**federation.read_nodes(), "cedar": nodes["cedar"]})  # as a crash would leave it
        coordinator._registered = None
        coordinator._register_sites()
        assert set(federation.read_nodes()) == {"birch"}
