"""The calls of a round, answered directly: as Flower's own application answers them, on the same state."""

import asyncio
import base64
import datetime
import time
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import FastAPI
from flwr.app import ConfigRecord, Message, Metadata, RecordDict
from flwr.app.message.message import make_message as of_metadata
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.common.serde import message_to_proto
from flwr.proto import fleet_pb2 as of_fleet
from flwr.proto import message_pb2 as of_message
from flwr.proto import runtime_pb2 as of_runtime
from flwr.proto.node_pb2 import Node
from flwr.supercore.constant import NOOP_FEDERATION_ID, TASK_TOKEN_HEADER, TaskType
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.primitives.asymmetric import public_key_to_bytes, sign_message
from flwr.superlink.main import create_app
from google.protobuf.message import Message as Proto

from server.superlink.database import make_database_url, register
from server.superlink.direct_calls import PIECE_BYTES, DirectCalls, keeps_no_event_log

# Flower's migrations give alembic a configuration of an earlier form.
pytestmark = pytest.mark.filterwarnings("ignore:No path_separator found:DeprecationWarning")

MEDIA_TYPE = "application/protobuf"
CALLS = ("push-messages", "pull-messages", "push-object", "pull-object", "confirm-message-received")
PATHS = [f"/v1/{api}/{call}" for api in ("fleet", "runtime") for call in CALLS]
Headers = dict[str, str]


@dataclass
class World:
    """Two applications on one state: Flower's own, and one with direct calls. A run, its task and a node."""

    flower: FastAPI
    direct: FastAPI
    key: ec.EllipticCurvePrivateKey
    node: int
    run: int
    token: str

    def of_node(self, key: ec.EllipticCurvePrivateKey | None = None, seconds_ago: float = 0) -> Headers:
        key = key or self.key
        stamp = (datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=seconds_ago)).isoformat()
        return {
            "content-type": MEDIA_TYPE,
            "flwr-public-key": base64.b64encode(public_key_to_bytes(key.public_key())).decode(),
            "flwr-timestamp": stamp,
            "flwr-signature": base64.b64encode(sign_message(key, stamp.encode())).decode(),
        }

    def of_task(self, token: str | None = None) -> Headers:
        return {"content-type": MEDIA_TYPE, TASK_TOKEN_HEADER: self.token if token is None else token}


def ask(
    app: FastAPI, path: str, headers: Headers | list[tuple[str, str]], body: bytes | Proto, method: str = "POST"
) -> httpx.Response:
    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://superlink") as client:
            content = body if isinstance(body, bytes) else body.SerializeToString()
            return await client.request(method, path, headers=headers, content=content)

    return asyncio.run(send())


def make_app() -> FastAPI:
    app = create_app()
    app.state.enable_supernode_auth = True
    return app


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """For requests that change nothing."""
    return make_world(tmp_path_factory.mktemp("world"))


def make_world(folder: Path) -> World:
    register()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLWR_DATABASE", make_database_url(str(folder / "state.db")))
        flower, direct = make_app(), make_app()
    direct.state.linkstate_factory = flower.state.linkstate_factory
    direct.state.runtime_state_factory = flower.state.runtime_state_factory
    direct.add_middleware(DirectCalls)
    state = flower.state.linkstate_factory.state()
    key = ec.generate_private_key(ec.SECP384R1())
    node = state.create_node("owner", "owner", public_key_to_bytes(key.public_key()), 30)
    assert state.activate_node(node, 30)
    run = state.create_run(None, None, "0" * 64, {}, NOOP_FEDERATION_ID, None, None, TaskType.SERVER_APP)
    (task,) = state.get_tasks(run_ids=[run])
    token = state.claim_task(task.task_id)
    assert token is not None
    assert state.activate_task(task.task_id)
    return World(flower, direct, key, node, run, token)


def make_message(world: World, text: str) -> Message:
    """A message of the run to the node, as Flower's grid makes it."""
    metadata = Metadata(
        run_id=world.run,
        message_id="",
        src_node_id=SUPERLINK_NODE_ID,
        dst_node_id=world.node,
        reply_to_message_id="",
        group_id="",
        created_at=time.time(),
        ttl=600.0,
        message_type="query",
    )
    message = of_metadata(metadata, RecordDict({"body": ConfigRecord({"text": text})}))
    metadata.__dict__["_message_id"] = message.object_id
    return message


def push(world: World, app: FastAPI, message: Message) -> None:
    """As the coordinator's run: the message, then its parts."""
    request = of_runtime.PushAppMessagesRequest(
        messages_list=[message_to_proto(message)], message_object_trees=[get_object_tree(message)]
    )
    answer = ask(app, "/v1/runtime/push-messages", world.of_task(), request)
    assert answer.status_code == 200, answer.text
    stored = of_runtime.PushAppMessagesResponse.FromString(answer.content)
    for name, part in get_all_nested_objects(message).items():
        content = of_message.PushObjectRequest(
            node=Node(node_id=SUPERLINK_NODE_ID),
            run_id=world.run,
            object_id=name,
            object_content=part.deflate(),
            session_id=stored.session_id,
        )
        answer = ask(app, "/v1/runtime/push-object", world.of_task(), content)
        assert of_message.PushObjectResponse.FromString(answer.content).stored


def ask_both(
    world: World, path: str, headers: Headers | list[tuple[str, str]], body: bytes | Proto, method: str = "POST"
) -> httpx.Response:
    """The answer, which must be the same with direct calls as by Flower's own application."""
    flowers, direct = (ask(app, path, headers, body, method) for app in (world.flower, world.direct))
    assert (direct.status_code, direct.content) == (flowers.status_code, flowers.content)
    kept = ("content-type", "content-length", "allow")
    assert [direct.headers.get(name) for name in kept] == [flowers.headers.get(name) for name in kept]
    return direct


def headers_for(world: World, path: str) -> Headers:
    return world.of_node() if "/fleet/" in path else world.of_task()


def name_node(path: str, node: int) -> Proto:
    """The smallest request of a path that names a node."""
    kinds: dict[str, type[Proto]] = {
        "/v1/fleet/push-messages": of_fleet.PushMessagesRequest,
        "/v1/fleet/pull-messages": of_fleet.PullMessagesRequest,
        "push-object": of_message.PushObjectRequest,
        "pull-object": of_message.PullObjectRequest,
        "confirm-message-received": of_message.ConfirmMessageReceivedRequest,
        "/v1/runtime/push-messages": of_runtime.PushAppMessagesRequest,
        "/v1/runtime/pull-messages": of_runtime.PullAppMessagesRequest,
    }
    kind = kinds.get(path) or kinds[path.rsplit("/", 1)[1]]
    return kind(node=Node(node_id=node)) if "node" in kind.DESCRIPTOR.fields_by_name else kind()


@pytest.mark.parametrize("path", PATHS)
def test_nobody_is_answered_without_a_proof_of_who_calls(world: World, path: str) -> None:
    other = ec.generate_private_key(ec.SECP384R1())
    request = name_node(path, world.node)
    wrong = [
        {"content-type": MEDIA_TYPE},
        {**world.of_node(), "flwr-signature": "AAAA"},
        world.of_node(other),
        world.of_node(seconds_ago=3600),
    ]
    if "/runtime/" in path:
        wrong = [{"content-type": MEDIA_TYPE}, world.of_task(""), world.of_task("another"), world.of_node()]
    for headers in wrong:
        assert ask_both(world, path, headers, request).status_code == 401


@pytest.mark.parametrize("path", [path for path in PATHS if "/runtime/" in path])
def test_token_that_comes_twice_is_refused(world: World, path: str) -> None:
    token = (TASK_TOKEN_HEADER, world.token)
    answer = ask_both(world, path, [("content-type", MEDIA_TYPE), token, token], name_node(path, world.node))
    assert answer.status_code == 401


@pytest.mark.parametrize("path", [path for path in PATHS if "/fleet/" in path])
def test_node_that_names_another_is_refused(world: World, path: str) -> None:
    assert ask_both(world, path, world.of_node(), name_node(path, world.node + 1)).status_code == 401


@pytest.mark.parametrize("path", PATHS)
def test_bodies_that_are_no_request_are_refused(world: World, path: str) -> None:
    headers = headers_for(world, path)
    assert ask_both(world, path, headers, b"\xff\xff no request").status_code == 400
    assert ask_both(world, path, headers | {"content-type": "text/plain"}, b"").status_code == 415
    assert ask_both(world, path, headers, b"", method="GET").status_code == 405


@pytest.mark.parametrize("path", PATHS)
def test_version_that_does_not_fit_is_refused_where_flower_refuses_it(world: World, path: str) -> None:
    headers = headers_for(world, path) | {
        "flwr-package-name": "flwr",
        "flwr-package-version": "0.1.0",
        "flwr-component-name": "SuperNode",
    }
    answer = ask_both(world, path, headers, name_node(path, world.node))
    assert ("version" in answer.text.lower()) == ("/runtime/" in path)


def test_message_that_is_pushed_by_direct_calls_is_fetched_as_one_that_is_not(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    names = []
    for app, text in ((world.direct, "one"), (world.flower, "two")):
        message = make_message(world, text)
        push(world, app, message)
        names.append(message.object_id)
        for name, part in get_all_nested_objects(message).items():
            request = of_message.PullObjectRequest(node=Node(node_id=world.node), run_id=world.run, object_id=name)
            answer = ask_both(world, "/v1/fleet/pull-object", world.of_node(), request)
            found = of_message.PullObjectResponse.FromString(answer.content)
            assert found.object_available
            assert found.object_content == part.deflate()
    request = of_fleet.PullMessagesRequest(node=Node(node_id=world.node))
    found = [ask(app, "/v1/fleet/pull-messages", world.of_node(), request) for app in (world.direct, world.flower)]
    pulled = [of_fleet.PullMessagesResponse.FromString(answer.content).messages_list for answer in found]
    assert [each.metadata.message_id for messages in pulled for each in messages] == names


@pytest.mark.parametrize("length", [1, PIECE_BYTES, 3 * PIECE_BYTES, 5 * PIECE_BYTES + 1])
def test_large_answer_is_written_in_pieces_and_comes_as_flowers(tmp_path: Path, length: int) -> None:
    world = make_world(tmp_path)
    message = make_message(world, "x" * length)
    push(world, world.flower, message)
    for name in get_all_nested_objects(message):
        request = of_message.PullObjectRequest(node=Node(node_id=world.node), run_id=world.run, object_id=name)
        answer = ask_both(world, "/v1/fleet/pull-object", world.of_node(), request)
        pieces = list_pieces(world.direct, "/v1/fleet/pull-object", world.of_node(), request)
        assert b"".join(pieces) == answer.content
        assert len(pieces) == max(1, -(-len(answer.content) // PIECE_BYTES))
        assert max(map(len, pieces)) <= PIECE_BYTES


def list_pieces(app: FastAPI, path: str, headers: Headers, body: Proto) -> list[bytes]:
    """The parts in which an answer's body is given to the web server; the last one says that it is the last."""
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": body.SerializeToString(), "more_body": False}

    async def send(part: MutableMapping[str, Any]) -> None:
        sent.append(part)

    fields = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "POST", "path": path, "headers": fields, "query_string": b"", "app": app}
    asyncio.run(DirectCalls(app)(scope, receive, send))
    assert [part["type"] for part in sent] == ["http.response.start", *["http.response.body"] * (len(sent) - 1)]
    assert [part.get("more_body", False) for part in sent[1:]] == [*[True] * (len(sent) - 2), False]
    return [part["body"] for part in sent[1:]]


def test_calls_of_a_finished_run_are_refused(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    state = world.flower.state.linkstate_factory.state()
    (task,) = state.get_tasks(run_ids=[world.run])
    assert state.finish_task(task.task_id, "completed", "")
    request = of_message.PushObjectRequest(node=Node(node_id=world.node), run_id=world.run, object_id="0")
    assert ask_both(world, "/v1/fleet/push-object", world.of_node(), request).status_code >= 400
    assert ask_both(world, "/v1/runtime/push-object", world.of_task(), request).status_code == 401


@pytest.mark.parametrize("plugin", ["fleet_event_log_plugin", "control_event_log_plugin"])
def test_superlink_that_keeps_an_event_log_is_told_from_one_that_does_not(tmp_path: Path, plugin: str) -> None:
    flower = make_world(tmp_path).flower
    assert keeps_no_event_log(flower)
    setattr(flower.state, plugin, object())
    assert not keeps_no_event_log(flower)
