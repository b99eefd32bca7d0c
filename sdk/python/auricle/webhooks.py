"""The events that the platform sends to webhooks, signed after Standard Webhooks (www.standardwebhooks.com).

An event is a POST of JSON, `{"type": ..., "timestamp": ..., "data": {...}}`, with the headers `webhook-id`,
`webhook-timestamp` and `webhook-signature`. Types are `analysis_job.succeeded`, `analysis_job.failed` and
`analysis_job.canceled`; `data` has the job's `name`, its `state`, and `create_time`, `start_time`, `end_time` and
`expire_time` in ISO 8601. What was found is not in it: fetch it by the name.

A receiver verifies an event with any Standard Webhooks library:

    from standardwebhooks import Webhook

    event = Webhook(secret).verify(body, headers)
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from standardwebhooks import Webhook
from standardwebhooks.webhooks import EmptyWebhookSecretError


@dataclass(frozen=True)
class Event:
    """Something that a receiver is told.

    Attributes:
        id: the same for every try to tell it, so that a receiver can count it once.
        type: what happened.
        timestamp: when it happened.
        data: about what.
    """

    id: str
    type: str
    timestamp: datetime
    data: Mapping[str, Any] = field(default_factory=dict)

    def signed(self, secrets: Sequence[str], now: datetime | None = None) -> tuple[dict[str, str], bytes]:
        """Headers and body of a POST.

        Args:
            secrets: each `whsec_...`; the event is signed with all of them.
            now: the time of this try, which receivers compare with their clocks.

        Raises:
            ValueError: a secret is none.
        """
        now = now or datetime.now(UTC)
        body = json.dumps({"type": self.type, "timestamp": iso(self.timestamp), "data": dict(self.data)})
        try:
            signatures = [Webhook(secret).sign(self.id, now, body) for secret in secrets]
        except EmptyWebhookSecretError as error:
            raise ValueError(str(error)) from None
        headers = {
            "content-type": "application/json",
            "webhook-id": self.id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signatures),
        }
        return headers, body.encode()


def iso(time: datetime) -> str:
    """A time as events tell it."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
