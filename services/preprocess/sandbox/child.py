"""One child: takes an order and a recording from its socket, answers with windows, and ends."""

import io
import os
import socket
import sys
import traceback
from typing import BinaryIO, NoReturn

from services.preprocess import wire
from services.preprocess.domain import Limits, Reason, Refusal, Summary, Window
from services.preprocess.sandbox import jail
from services.preprocess.sandbox.pipeline import process
from services.preprocess.sandbox.refused import AudioRefused
from services.preprocess.sandbox.rehearsal import MEL_BINS, rehearse
from services.preprocess.sandbox.source import Source, chunks_of, receive
from services.preprocess.wire import Kind

_BUFFER_BYTES = 2**16
EXIT_DONE = 0
EXIT_LEFT_ALONE = 1
EXIT_BUG = 70


def main(socket_fd: int, spool_fd: int, limits: Limits) -> NoReturn:
    """Run in a fresh child process; never returns.

    The exit code tells whether the answer was sent (0), the other end went away (1) or the code is wrong (70).
    """
    code = EXIT_BUG
    try:
        jail.keep_two_files(socket_fd, spool_fd)
        connection = socket.socket(fileno=jail.SOCKET_FD)
        spool_file = os.fdopen(jail.SPOOL_FD, "r+b")
        jail.lock(limits)
        rehearse(limits, max(MEL_BINS))
        _answer(connection, spool_file, limits)
        code = EXIT_DONE
    except (EOFError, ConnectionError):
        code = EXIT_LEFT_ALONE
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        # No clean-up of a copied interpreter: nothing here outlives the process.
        os._exit(code)


def _answer(connection: socket.socket, spool_file: BinaryIO, limits: Limits) -> None:
    stream = io.BufferedReader(socket.SocketIO(connection, "r"), _BUFFER_BYTES)
    kind, payload = receive(stream)
    if kind is not Kind.ORDER:
        raise wire.WireError(f"{kind.name} instead of an order")
    try:
        for result in process(wire.unpack_order(payload), limits, Source(chunks_of(stream)), spool_file):
            _send(connection, result)
    except AudioRefused as refused:
        _send(connection, refused.refusal)
    except MemoryError:
        message = f"hearing this recording takes more than the {limits.memory_bytes} bytes that are given to it"
        _send(connection, Refusal(Reason.AUDIO_MEMORY_EXCEEDED, message, {"limit_bytes": str(limits.memory_bytes)}))
    # Unread bytes at the end of a process reset its socket, and the other end may lose the last message: read them.
    while stream.read(_BUFFER_BYTES):
        pass


def _send(connection: socket.socket, result: Window | Summary | Refusal) -> None:
    kind, payload = wire.pack_result(result)
    connection.sendall(wire.header(kind, len(payload)) + payload)
