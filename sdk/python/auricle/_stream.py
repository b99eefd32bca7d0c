"""Answers that are read while they are decoded."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from auricle import _types
from auricle._connection import Call
from auricle._errors import InternalError
from auricle._types import Answer
from auricle.v1 import assistant_pb2


class _Progress:
    """What has been read of an answer; the part that the blocking and the asyncio stream share."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._answer: Answer | None = None
        self._ended = False

    @property
    def answer(self) -> Answer:
        """The whole answer with usage, once the stream was read to its end. Raises RuntimeError before."""
        if self._answer is None:
            raise RuntimeError("the answer is complete only after the stream was read to its end")
        return self._answer

    def _take(self, response: assistant_pb2.StreamChatResponse) -> str:
        if response.HasField("summary"):
            self._answer = _types.answer(response.summary)
        return response.text_delta

    def _finish(self) -> None:
        self._ended = True
        if self._answer is None:
            raise InternalError("the answer broke off: its summary is missing", request_id=self._call.request_id)


class TextStream(_Progress):
    """Iterates over pieces of text as they are decoded; `answer` has the whole afterwards.

    Closing it early, also by leaving its `with` block, cancels the work on the server.
    """

    def __init__(self, call: Call, responses: Any) -> None:
        super().__init__(call)
        self._responses = responses

    def __iter__(self) -> "TextStream":
        return self

    def __next__(self) -> str:
        while not self._ended:
            with self._call:
                response = next(self._responses, None)
            if response is None:
                self._finish()
            elif delta := self._take(response):
                return delta
        raise StopIteration

    def close(self) -> None:
        """Stop reading; the server stops decoding. Does nothing when the stream has ended."""
        self._ended = True
        self._responses.cancel()

    def __enter__(self) -> "TextStream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncTextStream(_Progress):
    """The same for asyncio. The request is sent when the first piece is asked for or the block is entered."""

    def __init__(self, call: Call, start: Callable[[], Awaitable[Any]]) -> None:
        super().__init__(call)
        self._start = start
        self._responses: Any = None

    def __aiter__(self) -> "AsyncTextStream":
        return self

    async def __anext__(self) -> str:
        await self._begin()
        while not self._ended:
            with self._call:
                response = await self._responses.read()
            if response is grpc.aio.EOF:
                self._finish()
            elif delta := self._take(response):
                return delta
        raise StopAsyncIteration

    async def _begin(self) -> None:
        if self._responses is None and not self._ended:
            with self._call:
                self._responses = await self._start()

    async def close(self) -> None:
        """Stop reading; the server stops decoding. Does nothing when the stream has ended."""
        self._ended = True
        if self._responses is not None:
            self._responses.cancel()

    def __del__(self) -> None:
        # `async for ...: break` leaves no other trace; gRPC's own object would wait for the garbage collector.
        if self._responses is not None and not self._ended:
            self._responses.cancel()

    async def __aenter__(self) -> "AsyncTextStream":
        await self._begin()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
