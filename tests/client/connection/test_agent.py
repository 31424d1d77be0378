"""The contract with Flower: real agents against a real SuperLink over TLS."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.fleet_pb2 import PushMessagesRequest
from flwr.proto.message_pb2 import ObjectTree, PushObjectRequest
from flwr.supercore.inflatable.inflatable_object import get_object_tree

from client.connection.link import AgentEvent, CoordinatorLink
from privacy.canonical import compute_sha256
from privacy.errors import LinkError
from privacy.protocol.envelope import MAX_BODY_BYTES, Envelope
from privacy.protocol.flower_records import MAX_PIECES
from server.federation.certificates import TlsFiles, create_authority
from server.superlink.bundle import pack_bundle
from server.superlink.control_api import RunState
from tests.loopback import Agent, Loopback, RemoteGrid, wait_for

pytestmark = pytest.mark.federation


@pytest.fixture(scope="module")
def loopback(
    tmp_path_factory: pytest.TempPathFactory, certificates: TlsFiles, repository: Path
) -> Iterator[Loopback]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(repository))
        patch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # which nobody serves, and nobody is to ask
        federation = Loopback(tmp_path_factory.mktemp("federation"), certificates)
        try:
            yield federation
        finally:
            federation.close()


@pytest.fixture(scope="module")
def site(loopback: Loopback) -> tuple[Agent, int]:
    """An agent that is online, and its node id."""
    key, node = loopback.key("site")
    agent = loopback.agent(key)
    agent.expect("online")
    return agent, node


def test_agent_with_an_admitted_key_counts_as_online(loopback: Loopback, site: tuple[Agent, int]) -> None:
    _, node = site
    assert node in loopback.grid.online()
    assert loopback.superlink.control.list_nodes()[node]


def test_agent_answers_two_sites_with_large_bodies_unchanged(loopback: Loopback, site: tuple[Agent, int]) -> None:
    key, other = loopback.key("other")
    agent = loopback.agent(key)
    agent.expect("online")
    body = os.urandom(MAX_BODY_BYTES - 20)
    for node in (site[1], other):
        reply = loopback.grid.ask(node, body)
        assert reply.envelope is not None
        assert reply.envelope.body == b"answer to " + body
    assert agent.stop() == (0, "")


def test_agent_whose_site_refuses_sends_the_sentence(loopback: Loopback, site: tuple[Agent, int]) -> None:
    reply = loopback.grid.ask(site[1], b"refuse")
    assert (reply.envelope, reply.error, reply.lost) == (None, "this site does not do that", False)


def test_agent_whose_site_fails_sends_no_record(loopback: Loopback, site: tuple[Agent, int]) -> None:
    reply = loopback.grid.ask(site[1], b"fail")
    assert reply.error == "the site failed unexpectedly (ValueError); its own log says why"
    assert loopback.grid.ask(site[1], b"next").envelope is not None


def test_agent_whose_run_was_stopped_drops_its_answer(loopback: Loopback, site: tuple[Agent, int]) -> None:
    agent, node = site
    agent.forget()
    grid = RemoteGrid(loopback.superlink)
    grid.send(node, Envelope(b"take your time", b""))
    agent.expect("asked")
    loopback.superlink.control.stop_run(grid.run_id)
    assert "its run has ended" in agent.expect("dropped")
    assert loopback.grid.ask(node, b"next").envelope is not None


def test_agent_asked_again_and_again_meanwhile_answers_once(loopback: Loopback, site: tuple[Agent, int]) -> None:
    agent, node = site
    agent.forget()
    first = loopback.grid.send(node, Envelope(b"take your time", b""))
    agent.expect("asked")
    loopback.grid.send(node, Envelope(b"take your time", b"again"))
    last = loopback.grid.send(node, Envelope(b"take your time", b"and again"))
    replies = [wait_for("a reply", loopback.grid.poll) for _ in range(2)]
    assert [reply.message_id for (reply,) in replies] == [first, last]
    assert "a newer one of its run has come" in agent.expect("dropped")


def test_agent_that_trusts_another_authority_waits(loopback: Loopback, tmp_path: Path) -> None:
    key, node = loopback.key("elsewhere")
    agent = Agent(loopback.superlink, key, create_authority(tmp_path, "other").ca)
    assert "its certificate is not signed by the federation's authority" in agent.expect("waiting")
    assert not loopback.superlink.control.list_nodes()[node]
    assert agent.stop() == (0, "")
    agent.close()


def test_agent_with_an_unknown_key_ends_with_the_next_step(loopback: Loopback) -> None:
    key, _ = loopback.key("stranger", registered=False)
    code, said = loopback.agent(key).end()
    assert code == LinkError.exit_code
    assert said == (
        f"error: the coordinator at {loopback.superlink.address} does not know this site's node key; "
        "send it the join request and wait for its admission\n"
    )


def test_agent_with_a_key_in_use_waits_for_it(loopback: Loopback) -> None:
    key, node = loopback.key("twin")
    first = loopback.agent(key)
    first.expect("online")
    second = loopback.agent(key)
    assert "another agent holds its key" in second.expect("waiting")
    assert loopback.grid.ask(node, b"who").envelope is not None
    first.expect("answered")
    assert first.stop() == (0, "")
    second.expect("online")
    assert second.stop() == (0, "")


def test_agent_whose_ledger_breaks_ends_with_its_cause(loopback: Loopback) -> None:
    key, node = loopback.key("torn")
    agent = loopback.agent(key)
    agent.expect("online")
    loopback.grid.send(node, Envelope(b"break the ledger", b""))
    assert agent.end() == (26, "error: the ledger's last line is torn\n")
    (reply,) = wait_for("the loss to show", loopback.grid.poll)
    assert reply.lost
    assert not loopback.superlink.control.list_nodes()[node]


def test_agent_whose_node_is_removed_ends_with_the_next_step(loopback: Loopback) -> None:
    key, node = loopback.key("removed")
    agent = loopback.agent(key)
    agent.expect("online")
    loopback.superlink.control.unregister_node(node)
    code, said = agent.end()
    assert code == LinkError.exit_code
    assert "does not know this site's node key" in said


def test_agent_that_was_killed_comes_back(loopback: Loopback) -> None:
    key, node = loopback.key("killed")
    first = loopback.agent(key)
    first.expect("online")
    first.process.kill()
    second = loopback.agent(key)
    second.expect("waiting")
    second.expect("online")
    assert loopback.grid.ask(node, b"back").envelope is not None
    assert second.stop() == (0, "")


def test_agent_never_runs_code_of_the_bundle(loopback: Loopback, site: tuple[Agent, int], tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    hostile = f"""
from pathlib import Path
from flwr.clientapp import ClientApp
Path({str(witness)!r}).write_text("shipped code ran")
app = ClientApp()
"""

    def bundle(config: dict[str, str | int]) -> bytes:
        project = f"""
[project]
name = "hostile"
version = "1.0.0"
[tool.flwr.app]
publisher = "stranger"
[tool.flwr.app.components]
serverapp = "tests.server.superlink.echo_app:app"
clientapp = "client.connection.client_app:app"
[tool.flwr.app.config]
{chr(10).join(f'{key} = ""' for key in config)}
"""
        files = {"pyproject.toml": project, "client/__init__.py": "", "client/connection/client_app.py": hostile}
        return pack_bundle({name: text.encode() for name, text in files.items()})

    grid = RemoteGrid(loopback.superlink, bundle)
    reply = grid.ask(site[1], b"run it")
    grid.finish()
    assert reply.envelope is not None
    assert reply.envelope.body == b"answer to run it"
    assert not witness.exists()


def test_agent_outlives_a_superlink_that_is_killed(loopback: Loopback, site: tuple[Agent, int]) -> None:
    agent, node = site
    agent.forget()
    superlink = loopback.superlink
    assert superlink.process is not None
    os.kill(superlink.process, signal.SIGKILL)
    assert "cannot be reached" in agent.expect("waiting")
    superlink.stop()
    superlink.start()
    agent.expect("online")
    assert superlink.control.read_run_status(loopback.grid.run_id).state is RunState.STOPPED
    loopback.grid = RemoteGrid(superlink)
    assert loopback.grid.ask(node, b"again").envelope is not None
    code, logged = agent.stop()
    assert code == 0
    assert "patient 4711 has no heart rate" in logged  # the site's own log says why it failed earlier


# Nodes that send too much, or garbage; what they announce and never send stays with the SuperLink ----------

HEAD = b"%s %s %d\0"


def stored(kind: bytes, body: bytes, *children: str) -> tuple[str, bytes]:
    """One of Flower's objects as it is stored, and its id."""
    content = HEAD % (kind, ",".join(children).encode(), len(body)) + body
    return compute_sha256(content), content


GARBAGE: dict[str, tuple[tuple[str, bytes], ...]] = {
    "no protobuf": (stored(b"Message", b"\xff\xfe\xfd"),),
    "another class": (stored(b"ConfigRecord", b""),),
    "a child that is nowhere": (stored(b"Message", b"", "0" * 64),),
    "an array that is none": (stored(b"Array", b"{"),),
    "not a Flower object's body": (stored(b"ArrayRecord", b"["),),
}


def test_reply_with_more_pieces_than_a_message_has_is_not_fetched(loopback: Loopback) -> None:
    """An enrolled node announces a reply of many pieces: nothing of it is fetched, and it is asked again."""
    key, node = loopback.key("many")
    link = CoordinatorLink(
        loopback.superlink.address, loopback.superlink.tls.ca, key, lambda event: None, threading.Event()
    )
    with contextlib.closing(link):
        link.activate()
        message = loopback.grid.send(node, Envelope(b"asked", b""))
        (pulled,) = wait_for("the message", lambda: tuple(link.pull_messages()))
        asked = link.receive(message_from_proto(pulled.messages_list[0]), pulled.message_object_trees[0])
        records: dict[str, ArrayRecord | MetricRecord | ConfigRecord] = {
            str(number): ConfigRecord({"number": number}) for number in range(MAX_PIECES)
        }
        link.send(Message(RecordDict(records), reply_to=asked))
        (reply,) = wait_for("its reply", loopback.grid.poll)
    assert (reply.message_id, reply.node_id, reply.envelope, reply.lost) == (message, node, None, False)
    assert "pieces, expected at most" in reply.error


@pytest.mark.parametrize("what", GARBAGE)
def test_reply_of_garbage_is_its_nodes_error(loopback: Loopback, what: str) -> None:
    """An enrolled node uploads objects that Flower cannot inflate: the coordinator survives, and names it."""
    key, node = loopback.key(f"garbage-{len(what)}")
    told: list[AgentEvent] = []
    link = CoordinatorLink(
        loopback.superlink.address, loopback.superlink.tls.ca, key, told.append, threading.Event()
    )
    with contextlib.closing(link):
        link.activate()
        message = loopback.grid.send(node, Envelope(b"asked", b""))
        (pulled,) = wait_for("the message", lambda: tuple(link.pull_messages()))
        asked = link.receive(message_from_proto(pulled.messages_list[0]), pulled.message_object_trees[0])
        reply = Message(RecordDict(), reply_to=asked)
        (root, content), *_ = GARBAGE[what]
        reply.metadata.__dict__["_message_id"] = root
        run_id = reply.metadata.run_id
        pushed = link.client.PushMessages(
            PushMessagesRequest(
                node=link.node,
                messages_list=[message_to_proto(remove_content_from_message(reply))],
                message_object_trees=[ObjectTree(object_id=root)],
            )
        )
        request = PushObjectRequest(
            node=link.node, run_id=run_id, object_id=root, object_content=content, session_id=pushed.session_id
        )
        assert link.client.PushObject(request).stored
        (answer,) = wait_for("its reply", loopback.grid.poll)
    assert (answer.message_id, answer.node_id, answer.envelope, answer.lost) == (message, node, None, False)
    assert "its reply cannot be read" in answer.error or "records" in answer.error


def test_reply_whose_pieces_do_not_come_keeps_nobody_waiting(loopback: Loopback) -> None:
    """A node announces a reply and sends nothing of it: other nodes' replies are fetched meanwhile."""
    other, quick = loopback.key("quick")
    loopback.agent(other).expect("online")
    key, node = loopback.key("silent")
    link = CoordinatorLink(
        loopback.superlink.address, loopback.superlink.tls.ca, key, lambda event: None, threading.Event()
    )
    with contextlib.closing(link):
        link.activate()
        loopback.grid.send(node, Envelope(b"asked", b""))
        (pulled,) = wait_for("the message", lambda: tuple(link.pull_messages()))
        asked = link.receive(message_from_proto(pulled.messages_list[0]), pulled.message_object_trees[0])
        reply = Message(RecordDict(), reply_to=asked)
        reply.metadata.__dict__["_message_id"] = reply.object_id
        link.client.PushMessages(
            PushMessagesRequest(
                node=link.node,
                messages_list=[message_to_proto(remove_content_from_message(reply))],
                message_object_trees=[get_object_tree(reply)],
            )
        )
        assert all(reply.node_id != node for reply in loopback.grid.poll())
        assert loopback.grid.ask(quick, b"quick").envelope is not None
