"""Packets to mono blocks, with an account of what could not be decoded."""

from collections.abc import Callable, Iterator
from typing import Any

import av
import av.logging

from services.preprocess.domain import Limits
from services.preprocess.sandbox.layout import check_layout
from services.preprocess.sandbox.samples import to_mono
from services.preprocess.sandbox.track import Block, Track

# Frames hold 20 to 30 ms; what follows decoding is cheaper in larger blocks.
BLOCK_SECONDS = 0.5
# A recording whose header promises more than was decoded by this much is reported as cut.
MISSING_SECONDS = 0.5
FFMPEG_ERRORS = (av.error.FFmpegError, EOFError)
Complaints = list[tuple[int, str, str]]


def reason_of(error: Exception, complaints: Complaints) -> str:
    """What FFmpeg has to say about an error: its last log line, which is more exact than the error's own words."""
    return complaints[-1][2].strip() if complaints else str(getattr(error, "strerror", None) or error)


class _Joined:
    """Consecutive frames of one kind as one; a stream may change its kind (chained Ogg, AAC)."""

    def __init__(self) -> None:
        self._fifo = av.AudioFifo()
        self._kind: tuple[str, int, int] | None = None
        self.seconds = 0.0

    def fits(self, frame: Any) -> bool:
        return self._kind is None or self._kind == _kind(frame)

    def add(self, frame: Any) -> None:
        # Time stamps may leap where a file is damaged; samples are counted instead.
        frame.pts = None
        self._kind = _kind(frame)
        self._fifo.write(frame)
        self.seconds += frame.samples / frame.sample_rate

    def block(self) -> Block:
        frame: Any = self._fifo.read()
        is_planar, samples = frame.format.is_planar, frame.to_ndarray()
        if not is_planar:
            samples = samples.reshape(-1, frame.layout.nb_channels)
        return Block(to_mono(samples, channels_first=is_planar), frame.sample_rate)


def _kind(frame: Any) -> tuple[str, int, int]:
    return frame.format.name, frame.layout.nb_channels, frame.sample_rate


class Decoder:
    """Decodes one stream of an opened container. What fails is skipped and noted, what decodes is heard."""

    def __init__(self, opened: Any, stream: Any, track: Track, limits: Limits) -> None:
        self._opened = opened
        self._stream = stream
        self._track = track
        self._limits = limits
        self._complaints: Complaints = []
        self._decoded_seconds = 0.0

    def blocks(self, missing_end: Callable[[], str | None]) -> Iterator[Block]:
        """Blocks of about BLOCK_SECONDS; afterwards the track's damages are complete.

        Args:
            missing_end: reads the bytes that are left and tells what the file's own marks say is missing.
        """
        with av.logging.Capture() as self._complaints:
            joined = _Joined()
            for frame in self._frames():
                if joined.seconds >= BLOCK_SECONDS or not joined.fits(frame):
                    yield joined.block()
                    joined = _Joined()
                joined.add(frame)
            if joined.seconds:
                yield joined.block()
        missing = missing_end() or self._missing_seconds()
        if missing:
            self._track.note_damage(self._decoded_seconds, missing)

    def _frames(self) -> Iterator[Any]:
        for packet in self._packets():
            for frame in self._decode(packet):
                check_layout(frame.sample_rate, frame.layout.nb_channels, self._limits)
                self._decoded_seconds += frame.samples / frame.sample_rate
                yield frame

    def _packets(self) -> Iterator[Any]:
        packets = self._opened.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except MemoryError:
                raise
            except FFMPEG_ERRORS as error:
                self._note(error)
                break
            self._note()
            if packet is None:
                break
            # An empty packet would end decoding; containers may hold some in the middle.
            if packet.size:
                yield packet
        yield None

    def _decode(self, packet: Any) -> list[Any]:
        """Frames of a packet; None empties the decoder."""
        try:
            frames: list[Any] = self._stream.codec_context.decode(packet)
        except EOFError:
            return []
        except MemoryError:
            raise
        except av.error.FFmpegError as error:
            self._note(error)
            return []
        self._note()
        return frames

    def _note(self, error: Exception | None = None) -> None:
        if error is not None:
            self._track.note_damage(self._decoded_seconds, reason_of(error, self._complaints))
        for _, _, message in self._complaints:
            self._track.note_damage(self._decoded_seconds, message)
        self._complaints.clear()

    def _missing_seconds(self) -> str | None:
        duration = self._stream.duration
        promised = float(duration * self._stream.time_base) if duration else 0.0
        if promised <= self._decoded_seconds + MISSING_SECONDS:
            return None
        return f"the header promises {promised:.2f} s, {self._decoded_seconds:.2f} s came"
