"""Flower's Control API: the state of runs, and its errors."""

import contextlib
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeVar

import httpx
from flwr.common.serde import fab_to_proto, user_config_to_proto
from flwr.proto.control_pb2 import (
    ListNodesRequest,
    ListRunsRequest,
    RegisterNodeRequest,
    StartRunRequest,
    StopRunRequest,
    UnregisterNodeRequest,
)
from flwr.supercore.control.control_http_client import ControlHttpClient
from flwr.supercore.error import ApiErrorCode, FlowerError
from flwr.supercore.fab import Fab

from privacy.address import join_address
from privacy.canonical import compute_sha256
from privacy.errors import SuperLinkError
from privacy.keys import convert_node_key_to_pem, read_secret
from privacy.proxy import make_http_client
from server.superlink.bundle import SERVER_APP, make_bundle
from server.superlink.gate import SECRET_HEADER

RUNS_LOOKED_AT: Final = 100
RUN_FAILURE: Final = "ServerApp failed with exception: "
_CALL_S: Final = 30.0

T = TypeVar("T")


class RunState(StrEnum):
    """The state of a Flower run."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def finished(self) -> bool:
        """Whether the run has ended."""
        return self in (RunState.COMPLETED, RunState.FAILED, RunState.STOPPED)


@dataclass(frozen=True)
class RunStatus:
    """The state of a run; ``reason`` says why it failed, and is empty otherwise."""

    state: RunState
    reason: str = ""


class RemovedKeyError(SuperLinkError):
    """The node of this key was removed, and Flower never accepts the key again."""


class AlreadyFinishedError(SuperLinkError):
    """The run to be stopped has ended already."""


class ControlApi:
    """Nodes and runs of a SuperLink, by Flower's Control API over TLS.

    Args:
        host: an address of the loopback interface.
        port: where the SuperLink listens.
        ca: the certificate authority that it is trusted by.
        secret: the file of its secret (``server/superlink/gate.py``); it is another one with every start.
        describe_end: why it does not answer, for a sentence.
    """

    def __init__(self, host: str, port: int, ca: Path, secret: Path, describe_end: Callable[[], str]) -> None:
        self._host = host
        self._port = port
        self._address = join_address(host, port)
        self._ca = ca
        self._secret = secret
        self._describe_end = describe_end
        self._client: ControlHttpClient | None = None

    def close(self) -> None:
        """Close the connection; a later call opens another one."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def register_node(self, public_key: str) -> int:
        """Register a site's node key (one OpenSSH line); return its node id, which a registered key keeps.

        Raises:
            WireError: it is no P-384 key.
            RemovedKeyError: its node was removed before.
            SuperLinkError: there is no answer.
        """
        pem = convert_node_key_to_pem(public_key)
        for node in self._fetch_nodes():
            if node.public_key == pem and node.status == "unregistered":
                raise RemovedKeyError(
                    "this node key was removed before; the site must make a new one and join again"
                )
            if node.public_key == pem:
                return int(node.node_id)
        return int(self.call(lambda control: control.RegisterNode(RegisterNodeRequest(public_key=pem))).node_id)

    def unregister_node(self, node_id: int) -> None:
        """Remove a site's node: its next request is refused, and its key is never accepted again."""
        self.call(lambda control: control.UnregisterNode(UnregisterNodeRequest(node_id=node_id)))

    def list_nodes(self) -> dict[int, bool]:
        """List the registered nodes, and whether each is online."""
        return {int(n.node_id): n.status == "online" for n in self._fetch_nodes() if n.status != "unregistered"}

    def list_activations(self) -> dict[int, str]:
        """List when each node's present agent came online, as text that differs for every agent."""
        return {int(n.node_id): n.last_activated_at for n in self._fetch_nodes() if n.last_activated_at}

    def start_run(self, config: Mapping[str, str | int], app: str = SERVER_APP) -> int:
        """Start a Flower run of the installed server app ``app`` with this run configuration; return its id.

        Raises:
            SuperLinkError: refused, or no answer.
        """
        return self.start_bundle(make_bundle(config, app), config)

    def start_bundle(self, bundle: bytes, config: Mapping[str, str | int]) -> int:
        """Start a Flower run of ``bundle``, whose configuration must have the keys of ``config``; return its id.

        Raises:
            SuperLinkError: refused, or no answer.
        """
        request = StartRunRequest(
            fab=fab_to_proto(Fab(compute_sha256(bundle), bundle, {})),
            override_config=user_config_to_proto(dict(config)),
        )
        return int(self.call(lambda control: control.StartRun(request)).run_id)

    def read_run_status(self, run_id: int) -> RunStatus:
        """Read the state of a run.

        Raises:
            SuperLinkError: there is no such run, or no answer.
        """
        answer = self.call(lambda control: control.ListRuns(ListRunsRequest(run_id=run_id)))
        status = answer.run_dict[run_id].status
        match status.status:
            case "finished":
                return RunStatus(RunState(status.sub_status), status.details.removeprefix(RUN_FAILURE))
            case "running":
                return RunStatus(RunState.RUNNING)
            case _:
                return RunStatus(RunState.PENDING)

    def stop_run(self, run_id: int) -> None:
        """Stop a run; a finished one stays unchanged."""
        if not self.read_run_status(run_id).state.finished:
            with contextlib.suppress(AlreadyFinishedError):
                self.call(lambda control: control.StopRun(StopRunRequest(run_id=run_id)))

    def _fetch_nodes(self) -> Any:
        return self.call(lambda control: control.ListNodes(ListNodesRequest())).nodes_info

    def call(self, ask: Callable[[ControlHttpClient], T]) -> T:
        """Ask the SuperLink.

        Raises:
            SuperLinkError: it refuses, or does not answer.
        """
        if self._client is None:
            context = ssl.create_default_context(cafile=self._ca)
            self._client = ControlHttpClient(f"https://{self._address}")
            self._client._client.close()  # Flower's client has its own rules for proxies from the environment
            self._client._client = make_http_client(self._host, self._port, context, _CALL_S)
            if self._secret.exists():  # not before the first start
                self._client._client.headers[SECRET_HEADER] = read_secret(self._secret).decode("ascii")
        try:
            return ask(self._client)
        except httpx.HTTPStatusError as error:
            raise translate_refusal(error) from None
        except httpx.HTTPError as error:
            raise SuperLinkError(
                f"the SuperLink at {self._address} does not answer ({str(error) or type(error).__name__}); "
                f"{self._describe_end()}"
            ) from None


def translate_refusal(error: httpx.HTTPStatusError) -> SuperLinkError:
    """Translate a refusal of the SuperLink into one of our errors."""
    answer = FlowerError.from_json(error.response.text)
    if answer is None:
        return SuperLinkError(f"the SuperLink refuses with HTTP status {error.response.status_code}")
    kind = AlreadyFinishedError if answer.code == ApiErrorCode.RUN_ALREADY_FINISHED else SuperLinkError
    return kind(f"the SuperLink refuses: {answer.message}")
