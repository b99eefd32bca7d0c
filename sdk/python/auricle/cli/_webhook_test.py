"""`auricle jobs webhook-test`: does a receiver accept what the platform will send it?"""

import ssl
import urllib.error
import urllib.request
import uuid
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from auricle.cli._session import FAILURE, USAGE, fail
from auricle.webhooks import Event, iso

# As long as the platform waits.
TIMEOUT_SECONDS = 10.0


def register_webhook_test(app: typer.Typer) -> None:
    """Add the command to the group `auricle jobs`."""
    app.command("webhook-test")(webhook_test)


def webhook_test(
    url: Annotated[str, typer.Argument(metavar="URL", help="Where the receiver listens.")],
    secret: Annotated[
        str,
        typer.Option(
            envvar="AURICLE_WEBHOOK_SECRET", metavar="SECRET", help="whsec_...; the variable hides it from `ps`."
        ),
    ],
    ca: Annotated[
        str | None, typer.Option(metavar="FILE", help="PEM authority to trust besides the public ones.")
    ] = None,
) -> None:
    """Send a receiver an event as the platform sends it at the end of a job, and tell what it answers.

    It is sent from this machine, so a receiver under development may be on http and on a private address; the platform
    itself calls https on public addresses that its operator allowed. The job in the event does not exist. Ends with 1
    when the receiver does not accept the event: anything but 2xx within 10 seconds.

    Example:

        AURICLE_WEBHOOK_SECRET=whsec_... auricle jobs webhook-test http://localhost:8000/hooks
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise fail(f"the URL must begin with https:// or http://, not {url!r}", USAGE)
    try:
        headers, body = example_event().signed([secret])
    except ValueError as error:
        raise fail(f"the secret is none: {error}", USAGE) from None
    try:
        status = _post(url, headers, body, ca)
    except OSError as error:
        raise fail(f"{url} did not answer: {getattr(error, 'reason', error)}", FAILURE) from None
    if not 200 <= status < 300:
        raise fail(f"{url} answered {status}: not accepted; the platform would try again later", FAILURE)
    typer.echo(f"{url} answered {status}: accepted")


def example_event() -> Event:
    """The end of a job that never was."""
    now = datetime.now(UTC)
    times = {"create": -90, "start": -88, "end": 0, "expire": 7 * 86_400}
    data = {f"{name}_time": iso(now + timedelta(seconds=seconds)) for name, seconds in times.items()}
    job_id = uuid.uuid4().hex
    return Event(
        id=f"msg_{job_id}",
        type="analysis_job.succeeded",
        timestamp=now,
        data={"name": f"analysisJobs/{job_id}", "state": "SUCCEEDED", **data},
    )


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """The platform follows none either."""


def _post(url: str, headers: dict[str, str], body: bytes, ca: str | None) -> int:
    context = ssl.create_default_context()
    if ca is not None:
        context.load_verify_locations(ca)
    opener = urllib.request.build_opener(_NoRedirects, urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(urllib.request.Request(url, body, headers), timeout=TIMEOUT_SECONDS) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
