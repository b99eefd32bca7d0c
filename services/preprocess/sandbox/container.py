"""Opening a file with FFmpeg, held to the few demuxers and codecs that are wanted."""

from typing import Any, BinaryIO, NoReturn

import av
import av.logging

from services.preprocess.domain import Limits, Reason
from services.preprocess.sandbox import sniff
from services.preprocess.sandbox.decode import FFMPEG_ERRORS, Decoder, reason_of
from services.preprocess.sandbox.endings import missing_end
from services.preprocess.sandbox.layout import check_layout
from services.preprocess.sandbox.refused import AudioRefused
from services.preprocess.sandbox.sniff import Container
from services.preprocess.sandbox.source import Source
from services.preprocess.sandbox.spool import spool
from services.preprocess.sandbox.track import Track
from services.preprocess.sandbox.wav_header import parse_wav_header

_PCM_CODECS = ("u8", "s16le", "s24le", "s32le", "f32le", "f64le", "alaw", "mulaw")
CODECS = frozenset(
    [
        *(f"pcm_{encoding}" for encoding in _PCM_CODECS),
        *("adpcm_ms", "adpcm_ima_wav", "flac", "alac", "mp3", "mp3float", "vorbis", "opus", "libopus", "aac"),
        *("amrnb", "amrwb"),
    ]
)
_IO_BUFFER_BYTES = 2**15
_OPTIONS = {
    "codec_whitelist": ",".join(sorted(CODECS)),
    # Sound in these containers describes itself in its first frames. FFmpeg's own default reads on for megabytes, and
    # holds 16-bit WAV data against every demuxer it has.
    "probesize": str(2**16),
    "max_probe_packets": "1",
}


def open_file(source: Source, limits: Limits, spool_file: BinaryIO) -> Track:
    """The first audio track of a file that names its own format.

    Args:
        source: the file's bytes.
        limits: what its header may claim, and how large it may be where it cannot be read as it arrives.
        spool_file: an empty file for that case.

    Raises:
        AudioRefused: no supported container, codec or audio track, or a header that cannot be true.
    """
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)
    container = sniff.sniff(source)
    header = parse_wav_header(source.head) if container is sniff.WAV else None
    if header is not None:
        check_layout(header.sample_rate_hz, header.channels, limits)
    opened = _open(source if container.streams else spool(source, spool_file, limits.spool_bytes), container)
    stream = _audio_stream(opened)
    context = stream.codec_context
    check_layout(context.sample_rate, context.channels, limits)
    track = Track(container.name, context.name, context.sample_rate, context.channels)
    track.blocks = Decoder(opened, stream, track, limits).blocks(lambda: missing_end(container, source))
    return track


def _refuse_other_files(*_: Any) -> NoReturn:
    """A container may name further files or URLs; none is ever opened."""
    raise AudioRefused(Reason.AUDIO_MALFORMED, "the recording refers to another file")


def _open(file: Any, container: Container) -> Any:
    with av.logging.Capture() as complaints:
        try:
            return av.open(
                file,
                format=container.demuxer,
                options=_OPTIONS,
                buffer_size=_IO_BUFFER_BYTES,
                io_open=_refuse_other_files,
                metadata_errors="ignore",
            )
        except FFMPEG_ERRORS as error:
            message = f"no sound can be read from this {container.name} file: {reason_of(error, complaints)}"
            raise AudioRefused(Reason.AUDIO_MALFORMED, message, container=container.name) from error


def _audio_stream(opened: Any) -> Any:
    if not opened.streams.audio:
        raise AudioRefused(Reason.AUDIO_STREAM_MISSING, "the file has no audio track")
    stream = opened.streams.audio[0]
    codec = stream.codec_context.name if stream.codec_context else "unknown"
    if codec not in CODECS:
        message = f"the codec {codec} is not supported; send {sniff.SUPPORTED}"
        raise AudioRefused(Reason.AUDIO_CODEC_UNSUPPORTED, message, codec=codec)
    stream.codec_context.thread_count = 1
    return stream
