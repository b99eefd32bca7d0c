"""A receiver of webhooks as its users would write it: the Standard Webhooks library decides what is genuine."""

import asyncio
from collections import deque
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

from tests.https_server import Request, response

HANG, MOVE = 0, 302


class Receiver:
    """Answers what `answers` says for the next tries, and 204 after that; a forged event gets 401.

    Attributes:
        secret: that it knows.
        answers: statuses to be given first; HANG gives none.
        tries: id of every try that came, in order.
        accepted: events that were accepted, in order.
    """

    def __init__(self, secret: str, *answers: int) -> None:
        self.secret = secret
        self.answers = deque(answers)
        self.tries: list[str] = []
        self.accepted: list[Any] = []

    async def answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        """Answers one request."""
        self.tries.append(request.headers["webhook-id"])
        try:
            event = Webhook(self.secret).verify(request.body, request.headers)
        except WebhookVerificationError:
            writer.write(response(401))
            return
        status = self.answers.popleft() if self.answers else 204
        if status == HANG:
            await asyncio.sleep(30)
        elif status == MOVE:
            writer.write(response(status, location="https://127.0.0.1/elsewhere"))
        else:
            if status < 300:
                self.accepted.append(event)
            writer.write(response(status, retry_after="100" if status == 429 else "soon"))
