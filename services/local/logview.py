"""Many logs in one view: the service's name in its color, then the line, JSON made readable."""

import json
from datetime import datetime

from rich.console import Console
from rich.text import Text

COLORS = {
    "redis": "red",
    "encoder": "magenta",
    "preprocess": "cyan",
    "decoder": "green",
    "gateway": "blue",
    "auricle": "bold white",
}
_HIDDEN = {"event", "level", "timestamp", "service"}


def readable(line: str) -> str:
    """A JSON log line as `time event key=value ...`; any other line as it is."""
    try:
        entry = json.loads(line)
    except ValueError:
        return line
    if not isinstance(entry, dict) or "event" not in entry:
        return line
    facts = " ".join(f"{key}={value}" for key, value in entry.items() if key not in _HIDDEN)
    level = "" if entry.get("level") == "info" else f"{str(entry.get('level', '')).upper()} "
    return f"{_clock(entry.get('timestamp'))} {level}{entry['event']} {facts}".strip()


def _clock(timestamp: object) -> str:
    try:
        return datetime.fromisoformat(str(timestamp)).strftime("%H:%M:%S")
    except ValueError:
        return ""


class LogView:
    """Prints lines of several processes to one console; usable from any thread."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def line(self, name: str, line: str) -> None:
        """Print one line of the named process."""
        text = Text(f"{name:<10} ", style=COLORS.get(name, "white"))
        text.append(readable(line), style="default")
        self._console.print(text, soft_wrap=True)

    def event(self, sentence: str) -> None:
        """Print a sentence of the supervisor itself."""
        self.line("auricle", sentence)
