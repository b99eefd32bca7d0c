"""Tables for people."""

from rich.table import Table
from rich.text import Text

from auricle._types import Answer, Model, Usage


def usage_table(answer: Answer) -> Table:
    """What went where: service, milliseconds, seconds heard, tokens."""
    usage = answer.usage
    table = Table(title=f"{answer.model}, finish reason: {answer.finish_reason}", title_justify="left")
    table.add_column("service")
    table.add_column("wall ms", justify="right")
    table.add_column("compute ms", justify="right")
    table.add_column("what went through")
    for timing in usage.timings:
        what = _what_went_through(timing.service, usage)
        table.add_row(timing.service, f"{timing.wall_ms:.1f}", f"{timing.compute_ms:.1f}", what)
    table.add_section()
    table.add_row("total", f"{usage.total_ms:.1f}", "", f"first token after {usage.first_token_ms:.1f} ms")
    return table


def _what_went_through(service: str, usage: Usage) -> str:
    match service:
        case "preprocess":
            return f"{usage.audio_received_seconds:.1f} s received, {usage.audio_heard_seconds:.1f} s heard"
        case "encoder":
            return f"{usage.audio_tokens} audio tokens, {usage.cached_tokens} of them cached"
        case "decoder":
            return f"{usage.prompt_tokens} prompt tokens, {usage.output_tokens} output tokens"
    return ""


def status_table(model: Model) -> Table:
    """Each service behind the gateway, ready or not, and why."""
    table = Table("service", "ready", "detail")
    for service in model.services:
        ready = Text("yes", style="green") if service.ready else Text("no", style="bold red")
        table.add_row(service.service, ready, Text(service.detail))
    return table
