"""Small files that say who may do what, read again whenever they change."""

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from services.common import telemetry

Content = TypeVar("Content")


class WatchedFile(Generic[Content]):
    """A file and what it says now.

    Args:
        path: where it is.
        parse: what its text means; raises ValueError for a text that means nothing.
        what: it is, for the log.

    Raises:
        ValueError, OSError: when first read. Later a broken or vanished file is logged and what was read last stays
            valid, so that a slip of the pen locks nobody out.
    """

    def __init__(self, path: Path, parse: Callable[[str], Content], what: str) -> None:
        self._path = path
        self._parse = parse
        self._what = what
        self._state = self._file_state()
        self._content = parse(path.read_text())

    @property
    def content(self) -> Content:
        """What the file says."""
        state = self._file_state()
        if state != self._state:
            self._state = state
            self._read_again()
        return self._content

    def _file_state(self) -> tuple[int, int, int] | None:
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size, stat.st_ino

    def _read_again(self) -> None:
        try:
            self._content = self._parse(self._path.read_text())
        except (OSError, ValueError) as error:
            telemetry.logger().error(
                f"{self._what} not read, what it said last stays", path=str(self._path), error=str(error)
            )
        else:
            telemetry.logger().info(f"{self._what} read", path=str(self._path))


def entries_of(text: str) -> list[tuple[int, list[str]]]:
    """Number and words of every line that says something: empty lines and those that begin with # do not."""
    lines = [(number, line.split()) for number, line in enumerate(text.splitlines(), start=1)]
    return [(number, words) for number, words in lines if words and not words[0].startswith("#")]
