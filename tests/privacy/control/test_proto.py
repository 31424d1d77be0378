"""``control.proto`` is the source: the generated module and the table of calls follow it."""

import subprocess
import sys
from pathlib import Path

import pytest

from privacy.control import control_pb2 as pb
from privacy.control.calls import CALLS

FOLDER = Path(__file__).parents[3]


def test_table_has_every_call_of_the_services() -> None:
    for service in pb.DESCRIPTOR.services_by_name.values():
        for method in service.methods:
            call = CALLS[method.name]
            assert call.service == service.full_name
            assert (method.input_type, method.output_type) == (call.request.DESCRIPTOR, call.answer.DESCRIPTOR)
            assert call.streams is method.server_streaming
    served = sum(len(service.methods) for service in pb.DESCRIPTOR.services_by_name.values())
    assert len(CALLS) == served


def test_generated_module_is_that_of_the_proto_file(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools", reason="grpcio-tools is not installed")
    words = [sys.executable, "-m", "grpc_tools.protoc", "-I.", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}"]
    subprocess.run([*words, "privacy/control/control.proto"], cwd=FOLDER, check=True)
    for name in ("control_pb2.py", "control_pb2.pyi"):
        made = (tmp_path / "privacy" / "control" / name).read_text()
        assert (FOLDER / "privacy" / "control" / name).read_text() == made, "run: scripts/generate-control-api"
