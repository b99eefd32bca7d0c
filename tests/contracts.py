"""Other versions of the contract, built at run time: the released one, and one that comes after the present.

Their classes share nothing with the SDK's stubs, so that what passes between them passes over the wire alone.
"""

import functools
import importlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FileDescriptor

PROTOS = Path(__file__).parents[1] / "protos"
PACKAGE = "auricle.v1"
# Of what a later version adds to every message, oneof and enum.
FIELD, FIELD_NUMBER, CHOICE, CHOICE_NUMBER, VALUE = "added_later", 1000, "chosen_later", 1001, 99
METHOD = "AddedLater"


class Contract:
    """One version of it."""

    def __init__(self, files: Iterable[descriptor_pb2.FileDescriptorProto]) -> None:
        self._pool = descriptor_pool.DescriptorPool()
        for file in files:
            self._pool.Add(file)

    def __getattr__(self, name: str) -> Any:
        """The class of a message of the package."""
        if name.startswith("_"):
            raise AttributeError(name)
        return message_factory.GetMessageClass(self._pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))

    def methods(self, service: str) -> list[str]:
        """Names of a service's methods; raises KeyError for one that this version does not have."""
        return [method.name for method in self._pool.FindServiceByName(f"{PACKAGE}.{service}").methods]

    def call(self, channel: Any, service: str, method: str) -> Any:
        """A callable, as a stub has it."""
        found = self._pool.FindMethodByName(f"{PACKAGE}.{service}.{method}")
        kind = f"{_stream(found.client_streaming)}_{_stream(found.server_streaming)}"
        answer = message_factory.GetMessageClass(found.output_type)
        return getattr(channel, kind)(
            f"/{PACKAGE}.{service}/{method}",
            request_serializer=lambda request: request.SerializeToString(),
            response_deserializer=answer.FromString,
        )

    def handler(self, service: str, behaviors: Mapping[str, Callable[..., Any]]) -> grpc.GenericRpcHandler:
        """A server's part for a service, of these methods alone."""
        handlers = {}
        for method, behavior in behaviors.items():
            found = self._pool.FindMethodByName(f"{PACKAGE}.{service}.{method}")
            kind = f"{_stream(found.client_streaming)}_{_stream(found.server_streaming)}"
            request = message_factory.GetMessageClass(found.input_type)
            handlers[method] = getattr(grpc, f"{kind}_rpc_method_handler")(
                behavior,
                request_deserializer=request.FromString,
                response_serializer=lambda response: response.SerializeToString(),
            )
        return grpc.method_handlers_generic_handler(f"{PACKAGE}.{service}", handlers)


@functools.cache
def released() -> Contract:
    """What was released last."""
    return Contract(descriptor_pb2.FileDescriptorSet.FromString((PROTOS / "released.binpb").read_bytes()).file)


@functools.cache
def later() -> Contract:
    """The present one with more: a field in every message, a choice in every oneof, values, methods."""
    files: dict[str, descriptor_pb2.FileDescriptorProto] = {}
    for path in sorted((PROTOS / "auricle" / "v1").glob("*.proto")):
        _gather(importlib.import_module(f"auricle.v1.{path.stem}_pb2").DESCRIPTOR, files)
    for name, file in files.items():
        if name.startswith("auricle/"):
            _extend(file)
    return Contract(files.values())


def enriched(message: Any) -> Any:
    """The message with a text in the field that was added, in it and in all messages within."""
    for field, value in message.ListFields():
        if field.message_type and field.message_type.full_name.startswith(PACKAGE):
            for inner in value if field.is_repeated else [value]:
                enriched(inner)
    setattr(message, FIELD, "nobody knows it")
    return message


def _gather(file: FileDescriptor, files: dict[str, descriptor_pb2.FileDescriptorProto]) -> None:
    """A file after those that it needs."""
    for needed in file.dependencies:
        _gather(needed, files)
    if file.name not in files:
        files[file.name] = descriptor_pb2.FileDescriptorProto()
        file.CopyToProto(files[file.name])


def _extend(file: descriptor_pb2.FileDescriptorProto) -> None:
    for message in file.message_type:
        _extend_message(message)
    for enum in file.enum_type:
        _extend_enum(enum)
    for service in file.service:
        first = service.method[0]
        service.method.add(name=METHOD, input_type=first.input_type, output_type=first.output_type)


def _extend_message(message: descriptor_pb2.DescriptorProto) -> None:
    if message.options.map_entry:
        return
    text = descriptor_pb2.FieldDescriptorProto(
        type=descriptor_pb2.FieldDescriptorProto.TYPE_STRING, label=descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
    )
    # An optional field has a oneof of its own, which is none that more could be added to.
    if any(field.HasField("oneof_index") and not field.proto3_optional for field in message.field):
        choice = message.field.add(name=CHOICE, number=CHOICE_NUMBER, oneof_index=0)
        choice.MergeFrom(text)
    message.field.add(name=FIELD, number=FIELD_NUMBER).MergeFrom(text)
    for enum in message.enum_type:
        _extend_enum(enum)
    for nested in message.nested_type:
        _extend_message(nested)


def _extend_enum(enum: descriptor_pb2.EnumDescriptorProto) -> None:
    enum.value.add(name=f"{enum.name.upper()}_ADDED_LATER", number=VALUE)


def _stream(streaming: bool) -> str:
    return "stream" if streaming else "unary"
