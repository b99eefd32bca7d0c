"""`python -m services.jobs`: a worker of long recordings."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from prometheus_client import start_http_server

from services.common import telemetry
from services.common.settings import load
from services.jobs.settings import WorkerSettings
from services.jobs.worker import run
from services.jobstore.dispatch import QUEUES


@dataclass(frozen=True)
class Arguments:
    """What a worker is told when it is started."""

    queues: list[str]
    beat: bool
    name: str


def parse(arguments: Sequence[str] | None = None) -> Arguments:
    """Read a command line, by default this process'; a wrong one ends the process with 2."""
    parser = argparse.ArgumentParser(prog="python -m services.jobs", description="A worker of long recordings.")
    parser.add_argument(
        "--queues", default=",".join(QUEUES), help="kinds of work, joined by commas (default: %(default)s)"
    )
    parser.add_argument("--beat", action="store_true", help="also run Celery beat, which starts the upkeep")
    parser.add_argument("--name", default="worker", help="of this worker, for Celery's tools")
    given = parser.parse_args(arguments)
    queues = given.queues.split(",")
    if unknown := set(queues) - set(QUEUES):
        parser.error(f"unknown queues {sorted(unknown)}; there are {', '.join(QUEUES)}")
    return Arguments(queues, given.beat, given.name)


def main() -> None:
    """Work on some or all queues."""
    given = parse()
    settings = load(WorkerSettings)
    telemetry.setup_logging("worker")
    telemetry.setup_tracing("worker")

    def serve_metrics() -> None:
        if settings.metrics_port:
            start_http_server(settings.metrics_port, addr=settings.host)

    # The port of the metrics also tells whoever started the worker that it works.
    sys.exit(run(settings, given.queues, with_beat=given.beat, name=given.name, on_ready=serve_metrics))


if __name__ == "__main__":
    main()
