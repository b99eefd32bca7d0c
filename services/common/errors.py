"""The errors of the platform and their form on the wire.

    AuricleError                 a status code, a reason and a sentence for the caller
    ├── InvalidArgument          the request is wrong, whenever it is sent        INVALID_ARGUMENT
    ├── FailedPrecondition       right request, wrong state of the system         FAILED_PRECONDITION
    ├── NotFound                 the named resource is not there                  NOT_FOUND
    ├── AlreadyExists            the name is taken for something else             ALREADY_EXISTS
    ├── Unauthenticated          no valid API key                                 UNAUTHENTICATED
    ├── ResourceExhausted        a limit was met; later it may go                 RESOURCE_EXHAUSTED
    ├── DeadlineExceeded         the time given ran out                           DEADLINE_EXCEEDED
    ├── Unavailable              a service is not there now; try again            UNAVAILABLE
    └── Internal                 our fault; details stay in the log               INTERNAL

On the wire an error is a google.rpc.Status with ErrorInfo (AIP-193) and, where they apply, BadRequest and RetryInfo.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

ERROR_DOMAIN = "auricle.dev"
DETAILS_KEY = "grpc-status-details-bin"
# Servers refuse trailers beyond 8 KiB by default, so no sentence may come near it.
MAX_MESSAGE_CHARS = 1000


@dataclass(frozen=True)
class FieldViolation:
    """A field of the request and what is wrong with it, as google.rpc.BadRequest names them."""

    field: str
    description: str


class AuricleError(Exception):
    """An error with its gRPC status code and the reason that a caller's program can switch on.

    Args:
        message: one sentence for people; says what to do where something can be done.
        reason: UPPER_SNAKE_CASE, at most 63 characters (AIP-193); the class's own when not given.
        metadata: short facts for programs, such as a limit that was met.
        violations: fields of the request that are wrong.
        retry_after_seconds: when another try makes sense; None when it does not.
    """

    code: grpc.StatusCode = grpc.StatusCode.INTERNAL
    default_reason = "INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[FieldViolation] = (),
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message[:MAX_MESSAGE_CHARS]
        self.reason = reason or self.default_reason
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_after_seconds = retry_after_seconds


class InvalidArgument(AuricleError):
    """The request is wrong, whenever it is sent."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    default_reason = "INVALID_ARGUMENT"

    @classmethod
    def of_field(cls, field: str, description: str, *, reason: str | None = None) -> "InvalidArgument":
        """An error about one field of the request."""
        return cls(f"{field}: {description}", reason=reason, violations=[FieldViolation(field, description)])


class FailedPrecondition(AuricleError):
    """The request is right, but the system is not in the state it needs."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    default_reason = "FAILED_PRECONDITION"


class NotFound(AuricleError):
    """The named resource is not there, or not this caller's."""

    code = grpc.StatusCode.NOT_FOUND
    default_reason = "NOT_FOUND"


class AlreadyExists(AuricleError):
    """What the request would make is there already, and is not the same."""

    code = grpc.StatusCode.ALREADY_EXISTS
    default_reason = "ALREADY_EXISTS"


class Unauthenticated(AuricleError):
    """No valid API key came with the call."""

    code = grpc.StatusCode.UNAUTHENTICATED
    default_reason = "API_KEY_INVALID"


class ResourceExhausted(AuricleError):
    """A limit was met. Carries RetryInfo when the limit is one that passes."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    default_reason = "RESOURCE_EXHAUSTED"


class DeadlineExceeded(AuricleError):
    """The time given for the work ran out."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED
    default_reason = "DEADLINE_EXCEEDED"


class Unavailable(AuricleError):
    """A service is not there now; the same call may succeed later."""

    code = grpc.StatusCode.UNAVAILABLE
    default_reason = "SERVICE_UNAVAILABLE"


class Internal(AuricleError):
    """A fault of ours. The log has the details, the caller gets none."""


_CLASS_OF_CODE: dict[int, type[AuricleError]] = {
    cls.code.value[0]: cls
    for cls in (
        InvalidArgument,
        FailedPrecondition,
        NotFound,
        AlreadyExists,
        Unauthenticated,
        ResourceExhausted,
        DeadlineExceeded,
        Unavailable,
        Internal,
    )
}


def _packed(message: any_pb2.Any | object) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)  # type: ignore[arg-type]
    return packed


def to_status(error: AuricleError) -> status_pb2.Status:
    """The error as google.rpc.Status, each detail type at most once (AIP-193)."""
    details = [_packed(error_details_pb2.ErrorInfo(reason=error.reason, domain=ERROR_DOMAIN, metadata=error.metadata))]
    if error.violations:
        bad_request = error_details_pb2.BadRequest()
        for violation in error.violations:
            bad_request.field_violations.add(field=violation.field, description=violation.description)
        details.append(_packed(bad_request))
    if error.retry_after_seconds is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(int(error.retry_after_seconds * 1000))
        details.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
    return status_pb2.Status(code=error.code.value[0], message=error.message, details=details)


def _status_of(rpc_error: grpc.aio.AioRpcError) -> status_pb2.Status | None:
    for key, value in rpc_error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                return None
    return None


def from_rpc_error(rpc_error: grpc.aio.AioRpcError, service: str) -> AuricleError:
    """The error that `service` answered, as ours, so that reason and details pass through to the caller unchanged.

    An error without our details (a broken connection, a foreign server) becomes the class of its status code.
    """
    code = rpc_error.code().value[0]
    cls = _CLASS_OF_CODE.get(code, Internal)
    status = _status_of(rpc_error)
    if status is None:
        if cls is Unavailable:
            message = f"the {service} service cannot be reached"
            return Unavailable(message, metadata={"service": service}, retry_after_seconds=1.0)
        if rpc_error.code() is grpc.StatusCode.UNIMPLEMENTED:
            # While services are upgraded another replica may know the call, or this one soon.
            message = f"the {service} service does not know this call: it is older than its caller"
            metadata = {"service": service}
            return Unavailable(message, reason="SERVICE_TOO_OLD", metadata=metadata, retry_after_seconds=1.0)
        if cls is Internal:
            return Internal(f"{service}: {rpc_error.code().name}: {rpc_error.details()}")
        return cls(rpc_error.details() or rpc_error.code().name, metadata={"service": service})
    info, bad_request, retry = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.BadRequest(),
        error_details_pb2.RetryInfo(),
    )
    has_retry = False
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(bad_request)
        has_retry = detail.Unpack(retry) or has_retry
    return cls(
        status.message,
        reason=info.reason or None,
        metadata=dict(info.metadata),
        violations=[FieldViolation(v.field, v.description) for v in bad_request.field_violations],
        retry_after_seconds=retry.retry_delay.ToMilliseconds() / 1000 if has_retry else None,
    )


async def abort(context: grpc.aio.ServicerContext, error: AuricleError) -> None:
    """End the call with the error and its details, beside the trailing metadata set so far; always raises."""
    status = rpc_status.to_status(to_status(error))
    trailing_metadata = (*(context.trailing_metadata() or ()), *status.trailing_metadata)
    await context.abort(error.code, status.details, trailing_metadata=trailing_metadata)
