"""A TCP line to a server that breaks when it is told."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

_RESET = struct.pack("ii", 1, 0)


class ShakyLine:
    """Passes bytes on. The n-th connection that carried `breaks[n]` bytes to the server is reset; later ones hold.

    Attributes:
        port: where it listens.
        carried: bytes that each connection carried to the server.
    """

    def __init__(self, server_port: int, breaks: Sequence[int]) -> None:
        self._server_port = server_port
        self._breaks = list(breaks)
        self.port = 0
        self.carried: list[int] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(self.carried)
        self.carried.append(0)
        limit = self._breaks[number] if number < len(self._breaks) else None
        there, back = await asyncio.open_connection("127.0.0.1", self._server_port)
        answers = asyncio.create_task(_pass_on(there, writer))
        try:
            while data := await reader.read(2**16):
                self.carried[number] += len(data)
                if limit is not None and self.carried[number] > limit:
                    break
                back.write(data)
                await back.drain()
        except OSError:
            pass
        finally:
            answers.cancel()
            for end in (writer, back):
                sock = end.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                end.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(2**16):
        writer.write(data)
        await writer.drain()


@asynccontextmanager
async def shaky_line(server_port: int, *breaks: int) -> AsyncIterator[ShakyLine]:
    """A line to the port, while it is open."""
    line = ShakyLine(server_port, breaks)
    server = await asyncio.start_server(line.serve, "127.0.0.1", 0)
    line.port = server.sockets[0].getsockname()[1]
    try:
        yield line
    finally:
        server.close()
