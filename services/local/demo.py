"""`make demo`: start the platform, ask about the sample recordings, print the answers and what went where, stop."""

import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from auricle import Answer, Client
from services.common.errors import AuricleError, FailedPrecondition
from services.local.demo_job import show_job
from services.local.platform import HOST, Ports, process_specs
from services.local.supervisor import Supervisor
from services.local.up import prepare, refuse_busy_ports

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "docs" / "samples"
HOME = ROOT / ".auricle" / "demo"
# (recording, question typed beside it, what stands in the recording)
QUESTIONS = (
    ("question.flac", "", "a spoken question, nothing typed: What is the capital of France?"),
    ("sound.mp3", "What sound is this?", "a church bell, three strokes"),
    ("sound.mp3", "Do you hear a bell?", "the same again: its embeddings come from the cache"),
)
NOTE = "auricle-mini is small and often wrong; docs/model-card.md says how often, task by task."


def ask(client: Client, recording: str, question: str) -> Answer:
    """One question about one sample recording."""
    audio = {"type": "audio", "audio": SAMPLES / recording}
    typed = [{"type": "text", "text": question}] if question else []
    return client.chat([{"role": "user", "content": [audio, *typed]}])


def show(console: Console, recording: str, question: str, truth: str, answer: Answer) -> None:
    """Print an answer and, beside it, what each service did."""
    usage = answer.usage
    console.print(f"\n[bold]{recording}[/bold]  {question}")
    console.print(f"  answer     [green]{answer.text}[/green]")
    console.print(f"  recording  {truth}")
    table = Table("service", "wall ms", "compute ms", "what went there", box=None, padding=(0, 2))
    new_tokens = usage.audio_tokens - usage.cached_tokens
    went = {
        "preprocess": f"{usage.audio_received_seconds:.2f} s received, {usage.audio_heard_seconds:.2f} s heard",
        "encoder": f"{new_tokens} audio tokens made, {usage.cached_tokens} from the cache",
        "decoder": f"{usage.prompt_tokens} prompt tokens in, {usage.output_tokens} tokens out",
    }
    for timing in usage.timings:
        what = went.get(timing.service, "")
        table.add_row(timing.service, f"{timing.wall_ms:.1f}", f"{timing.compute_ms:.1f}", what)
    console.print(table)
    console.print(f"  first token after {usage.first_token_ms:.0f} ms, whole answer after {usage.total_ms:.0f} ms")


def free_or_default_ports() -> Ports:
    """The usual ports, or others when a platform runs already."""
    try:
        refuse_busy_ports(Ports())
    except FailedPrecondition:
        return Ports.free()
    return Ports()


def main() -> None:
    """Run the demo; ends with 1 and the reason when the platform cannot be started."""
    console, log = Console(), Console(stderr=True)
    started = time.monotonic()

    def on_event(sentence: str) -> None:
        log.print(f"[dim]{time.monotonic() - started:6.1f} s  {sentence}[/dim]", soft_wrap=True, highlight=False)

    try:
        config = prepare("auricle-mini", HOME, free_or_default_ports(), threads=2, on_event=on_event)
        supervisor = Supervisor(process_specs(config), HOME / "logs", on_event=on_event)
        supervisor.start()
    except AuricleError as error:
        raise SystemExit(f"error: {error.message}") from None
    try:
        with Client(f"{HOST}:{config.ports.gateway}") as client:
            for recording, question, truth in QUESTIONS:
                show(console, recording, question, truth, ask(client, recording, question))
            show_job(client, console, SAMPLES, HOME / "demo.srt")
    finally:
        on_event("stopping")
        supervisor.stop()
    console.print(f"\n{NOTE}")
    on_event(f"done; logs in {HOME / 'logs'}")


if __name__ == "__main__":
    main()
