"""The committed stubs are those of the committed .proto files."""

import importlib
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

pytestmark = pytest.mark.unit

PROTOS = Path(__file__).parents[2] / "protos"


def built_files() -> dict[str, descriptor_pb2.FileDescriptorProto]:
    buf = Path(sys.executable).with_name("buf")
    command = [str(buf), "build", "--exclude-source-info", "--as-file-descriptor-set", "--output", "-"]
    image = subprocess.run(command, cwd=PROTOS, check=True, capture_output=True).stdout
    return {f.name: f for f in descriptor_pb2.FileDescriptorSet.FromString(image).file}


def clear_json_names(messages: Iterable[descriptor_pb2.DescriptorProto]) -> None:
    """buf writes them, protoc leaves them out; the wire does not know them."""
    for message in messages:
        for field in message.field:
            field.ClearField("json_name")
        clear_json_names(message.nested_type)


def test_stubs_are_generated_from_the_protos_as_they_are() -> None:
    files = {name: f for name, f in built_files().items() if name.startswith("auricle/")}
    assert len(files) == len(list(PROTOS.rglob("*.proto")))
    for name, built in files.items():
        module = importlib.import_module(name.removesuffix(".proto").replace("/", ".") + "_pb2")
        generated = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(generated)
        for proto in (built, generated):
            clear_json_names(proto.message_type)
        assert generated == built, f"{name} changed: run make protos"


def test_every_stub_has_its_proto() -> None:
    stubs = {p.name.removesuffix("_pb2.py") for p in (PROTOS.parent / "sdk/python/auricle/v1").glob("*_pb2.py")}
    assert stubs == {p.stem for p in PROTOS.rglob("*.proto")}
