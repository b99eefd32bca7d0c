"""One interceptor around every call: request id, deadline, metrics, log line, and errors mapped to their status."""

import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import structlog

from services.common import deadlines, telemetry
from services.common.errors import AuricleError, DeadlineExceeded, Internal, Unavailable, abort

REQUEST_ID_KEY = "x-request-id"
MAX_REQUEST_ID_CHARS = 128
Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler | None]]


def metadata_value(context: grpc.aio.ServicerContext, key: str) -> str | None:
    """The first value of a metadata key, or None."""
    for name, value in context.invocation_metadata() or ():
        if name == key and isinstance(value, str):
            return value
    return None


def request_id() -> str:
    """The id of the current call, to be sent along with calls made for it."""
    return str(structlog.contextvars.get_contextvars().get("request_id", ""))


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every handler of a server; handlers raise AuricleError and know nothing of status codes.

    Until `started` is set every call is refused: a service that still loads must not answer half-made things.
    """

    def __init__(self, default_deadline_seconds: float) -> None:
        self._default_deadline_seconds = default_deadline_seconds
        self.started = False

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler | None:
        handler = await continuation(handler_call_details)
        method = str(handler_call_details.method)
        if handler is None or method.startswith("/grpc."):
            return handler
        wrapped = _Wrapped(method, self._default_deadline_seconds, self)
        if handler.response_streaming:
            make = (
                grpc.stream_stream_rpc_method_handler
                if handler.request_streaming
                else grpc.unary_stream_rpc_method_handler
            )
            behavior = wrapped.streaming(handler.stream_stream or handler.unary_stream)
        else:
            make = (
                grpc.stream_unary_rpc_method_handler
                if handler.request_streaming
                else grpc.unary_unary_rpc_method_handler
            )
            behavior = wrapped.unary(handler.stream_unary or handler.unary_unary)
        return make(behavior, handler.request_deserializer, handler.response_serializer)


class _Wrapped:
    def __init__(self, method: str, default_deadline_seconds: float, server: CallInterceptor) -> None:
        self._method = method
        self._default_deadline_seconds = default_deadline_seconds
        self._server = server

    def unary(self, behavior: Any) -> Any:
        async def call(request: Any, context: grpc.aio.ServicerContext) -> Any:
            async with _Call(self._method, self._default_deadline_seconds, context):
                self._refuse_while_starting()
                return await behavior(request, context)

        return call

    def streaming(self, behavior: Any) -> Any:
        async def call(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
            async with _Call(self._method, self._default_deadline_seconds, context):
                self._refuse_while_starting()
                # A call that ends while a response is being sent closes this generator, not the handler's own.
                async with contextlib.aclosing(behavior(request, context)) as responses:
                    async for response in responses:
                        yield response

        return call

    def _refuse_while_starting(self) -> None:
        if not self._server.started:
            raise Unavailable("the service is starting", reason="STARTING", retry_after_seconds=1.0)


class _Call:
    """The life of one call, from its metadata to its log line."""

    def __init__(self, method: str, default_deadline_seconds: float, context: grpc.aio.ServicerContext) -> None:
        self._method = method
        self._default_deadline_seconds = default_deadline_seconds
        self._context = context
        self._start = time.monotonic()

    async def __aenter__(self) -> None:
        given = metadata_value(self._context, REQUEST_ID_KEY)
        call_id = given[:MAX_REQUEST_ID_CHARS] if given else uuid.uuid4().hex
        structlog.contextvars.bind_contextvars(request_id=call_id)
        left = self._context.time_remaining()
        deadlines.set_remaining(self._default_deadline_seconds if left is None else left)
        telemetry.RPC_IN_FLIGHT.labels(self._method).inc()
        # Not as initial metadata: with that sent, gRPC takes the call as begun and never repeats it (gRFC A6).
        self._context.set_trailing_metadata(((REQUEST_ID_KEY, call_id),))

    async def __aexit__(self, kind: Any, error: BaseException | None, traceback: Any) -> bool:
        telemetry.RPC_IN_FLIGHT.labels(self._method).dec()
        # abort() has already ended the call when a handler used it itself.
        if error is None or isinstance(error, grpc.aio.AbortError):
            self._finish("OK" if error is None else "ABORTED")
            return False
        if not isinstance(error, Exception):
            self._finish("CANCELLED")
            return False
        known = self._known(error)
        telemetry.RPC_ERRORS.labels(self._method, known.reason).inc()
        self._finish(known.code.name, reason=known.reason, message=known.message)
        public = Internal("internal error") if known.code is grpc.StatusCode.INTERNAL else known
        await abort(self._context, public)
        return True

    def _known(self, error: Exception) -> AuricleError:
        if isinstance(error, AuricleError):
            return error
        if isinstance(error, TimeoutError):
            return DeadlineExceeded("the deadline of the call has passed")
        telemetry.logger().error("unexpected error", method=self._method, exc_info=error)
        return Internal(f"{type(error).__name__}: {error}")

    def _finish(self, code: str, **facts: str) -> None:
        seconds = time.monotonic() - self._start
        telemetry.RPC_SECONDS.labels(self._method, code).observe(seconds)
        telemetry.logger().info("call", method=self._method, code=code, ms=round(seconds * 1000, 1), **facts)
