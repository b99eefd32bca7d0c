"""Errors that a call can end with, one class for each code of google.rpc.Code.

    AuricleError
    ├── CancelledError             the call was cancelled                             CANCELLED
    ├── UnknownError               a server failed and did not say why                UNKNOWN
    ├── InvalidArgumentError       the request is wrong, whenever it is sent          INVALID_ARGUMENT
    ├── DeadlineExceededError      no answer within the time given                    DEADLINE_EXCEEDED
    ├── NotFoundError              the named recording is not there                   NOT_FOUND
    ├── AlreadyExistsError         what should be made is there already               ALREADY_EXISTS
    ├── PermissionDeniedError      the API key may not do this                        PERMISSION_DENIED
    ├── UnauthenticatedError       no valid API key                                   UNAUTHENTICATED
    ├── ResourceExhaustedError     a limit was met; see `retry_after_seconds`         RESOURCE_EXHAUSTED
    ├── FailedPreconditionError    right request, wrong state of the platform         FAILED_PRECONDITION
    ├── AbortedError               another request was in the way                     ABORTED
    ├── OutOfRangeError            past the end of what there is                      OUT_OF_RANGE
    ├── UnimplementedError         this server does not know the call                 UNIMPLEMENTED
    ├── InternalError              a fault of the platform                            INTERNAL
    ├── UnavailableError           nobody answers now; tried several times already    UNAVAILABLE
    └── DataLossError              data was lost or damaged                           DATA_LOSS

What is wrong with the arguments of a call is found before it is sent where that is possible, and then raised as a plain
ValueError or TypeError.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc_status.rpc_status import GRPC_DETAILS_METADATA_KEY

from auricle._version import __version__


@dataclass(frozen=True)
class FieldViolation:
    """A field of the request, such as `messages[0].content[1].audio`, and what is wrong with it."""

    field: str
    description: str


class AuricleError(Exception):
    """A call ended without an answer. `str(error)` is a sentence for people.

    Attributes:
        code: status code of the call.
        reason: UPPER_SNAKE_CASE name of the cause, for programs; the code's name when the server gave none.
        metadata: short facts, such as the limit that was met.
        field_violations: fields of the request that are wrong.
        retry_after_seconds: when another try makes sense; None when the server did not say.
        request_id: names the call in the platform's logs.
    """

    code: grpc.StatusCode = grpc.StatusCode.UNKNOWN

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        metadata: Mapping[str, str] | None = None,
        field_violations: Sequence[FieldViolation] = (),
        retry_after_seconds: float | None = None,
        request_id: str = "",
    ) -> None:
        super().__init__(message)
        self.reason = reason or self.code.name
        self.metadata = dict(metadata or {})
        self.field_violations = tuple(field_violations)
        self.retry_after_seconds = retry_after_seconds
        self.request_id = request_id


class CancelledError(AuricleError):
    """The call was cancelled, by closing the client or by the server."""

    code = grpc.StatusCode.CANCELLED


class UnknownError(AuricleError):
    """A server failed and did not say why."""


class InvalidArgumentError(AuricleError):
    """The request is wrong, whenever it is sent; `field_violations` says where."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class DeadlineExceededError(AuricleError):
    """No answer came within `timeout_seconds`."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class NotFoundError(AuricleError):
    """The named recording is not there, or not this tenant's."""

    code = grpc.StatusCode.NOT_FOUND


class AlreadyExistsError(AuricleError):
    """What should be made is there already."""

    code = grpc.StatusCode.ALREADY_EXISTS


class PermissionDeniedError(AuricleError):
    """The API key is valid, but may not do this."""

    code = grpc.StatusCode.PERMISSION_DENIED


class UnauthenticatedError(AuricleError):
    """No valid API key came with the call."""

    code = grpc.StatusCode.UNAUTHENTICATED


class ResourceExhaustedError(AuricleError):
    """A limit was met; `retry_after_seconds` is set when it is one that passes."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class FailedPreconditionError(AuricleError):
    """The request is right, but the platform is not in the state it needs."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class AbortedError(AuricleError):
    """Another request was in the way."""

    code = grpc.StatusCode.ABORTED


class OutOfRangeError(AuricleError):
    """The request asks for something past the end of what there is."""

    code = grpc.StatusCode.OUT_OF_RANGE


class UnimplementedError(AuricleError):
    """This server does not know the call: it is no Auricle gateway, or an older one."""

    code = grpc.StatusCode.UNIMPLEMENTED


class InternalError(AuricleError):
    """A fault of the platform; its logs tell more under `request_id`."""

    code = grpc.StatusCode.INTERNAL


class UnavailableError(AuricleError):
    """Nobody answers now. The call was tried several times already."""

    code = grpc.StatusCode.UNAVAILABLE


class DataLossError(AuricleError):
    """Data was lost or damaged."""

    code = grpc.StatusCode.DATA_LOSS


_CLASS_OF_CODE = {cls.code: cls for cls in AuricleError.__subclasses__()}


def from_rpc_error(error: grpc.RpcError, *, address: str, request_id: str) -> AuricleError:
    """The error that a call to `address` ended with, as ours."""
    code = error.code()
    cls = _CLASS_OF_CODE.get(code, UnknownError)
    status = _status_of(error)
    if status is None:
        return cls(_plain_message(code, error.details(), address), request_id=request_id)
    info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    retry_after_seconds = None
    for detail in status.details:
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(retry):
            retry_after_seconds = retry.retry_delay.ToMilliseconds() / 1000
        else:
            detail.Unpack(info) or detail.Unpack(bad_request)
    return cls(
        status.message or error.details() or code.name,
        reason=info.reason,
        metadata=info.metadata,
        field_violations=[FieldViolation(v.field, v.description) for v in bad_request.field_violations],
        retry_after_seconds=retry_after_seconds,
        request_id=request_id,
    )


def _plain_message(code: grpc.StatusCode, details: str | None, address: str) -> str:
    if code is grpc.StatusCode.UNAVAILABLE:
        return f"cannot reach {address}: {details}"
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"{address} did not answer in time"
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return f"{address} does not know this call: it is older than this SDK ({__version__}), or no Auricle gateway"
    return f"{address}: {details or code.name}"


def _status_of(error: grpc.RpcError) -> status_pb2.Status | None:
    trailing: Any = error.trailing_metadata() or ()
    for key, value in trailing:
        if key == GRPC_DETAILS_METADATA_KEY:
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                return None
    return None
