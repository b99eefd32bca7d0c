"""Removing what is over, again and again."""

import asyncio
from collections.abc import Awaitable, Callable

from services.common import telemetry
from services.common.errors import Unavailable


async def regularly(sweep: Callable[[], Awaitable[int]], interval_seconds: float) -> None:
    """Sweep for ever; a store that fails is tried again the next time."""
    while True:
        try:
            removed = await sweep()
            if removed:
                telemetry.logger().info("expired uploads removed", objects=removed)
        except Unavailable as error:
            telemetry.logger().warning("sweep failed", error=str(error.__cause__))
        await asyncio.sleep(interval_seconds)
