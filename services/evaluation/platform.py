"""Examples answered by a deployed platform, through the SDK: what a user of it would get."""

import asyncio
from collections.abc import Callable, Sequence

from auricle import AsyncClient, ResourceExhaustedError
from services.evaluation.conversation import to_request
from services.evaluation.manifest import Example

CONCURRENCY = 4
_ATTEMPTS = 6
_WAIT_SECONDS = 1.0  # where the platform names no time to try again


async def answer_remotely(
    client: AsyncClient,
    examples: Sequence[Example],
    max_answer_tokens: int,
    concurrency: int = CONCURRENCY,
    on_answer: Callable[[], None] = lambda: None,
) -> list[str]:
    """One answer per example, decoded as the platform decodes by default (greedily).

    Args:
        concurrency: questions in flight; a platform that is full is asked again after the time it names.
        on_answer: called once per answer.

    Raises:
        AuricleError: of the SDK; the first question that failed ends the others.
    """
    answers = [""] * len(examples)
    numbered = iter(enumerate(examples))

    async def ask_in_turn() -> None:
        for index, example in numbered:
            answers[index] = await _ask(client, example, max_answer_tokens)
            on_answer()

    workers = [asyncio.ensure_future(ask_in_turn()) for _ in range(min(concurrency, len(examples)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
    return answers


async def _ask(client: AsyncClient, example: Example, max_answer_tokens: int) -> str:
    for _ in range(_ATTEMPTS - 1):
        try:
            return str(await client.chat(to_request(example), max_output_tokens=max_answer_tokens)).strip()
        except ResourceExhaustedError as error:
            await asyncio.sleep(error.retry_after_seconds or _WAIT_SECONDS)
    return str(await client.chat(to_request(example), max_output_tokens=max_answer_tokens)).strip()
