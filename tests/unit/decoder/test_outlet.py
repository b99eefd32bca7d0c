"""Between the engine's thread and a reader: pieces in order, errors at once, never more than a bound."""

import asyncio

import pytest

from services.common.errors import DeadlineExceeded, ResourceExhausted
from services.decoder.engine import Finish, FinishReason, TokenEvent
from services.decoder.outlet import Outlet

pytestmark = pytest.mark.unit

LAST = TokenEvent((9,), "end", Finish(FinishReason.STOP, 0, 0, 0))


async def test_pieces_come_in_order_and_the_last_one_closes() -> None:
    outlet = Outlet(max_unread=4)
    outlet.put(TokenEvent((1,), "a"))
    assert not outlet.closed
    outlet.put(LAST)
    assert outlet.closed
    assert [(await outlet.get()).text for _ in range(2)] == ["a", "end"]


async def test_a_reader_waits_for_the_next_piece() -> None:
    outlet = Outlet(max_unread=1)
    reading = asyncio.create_task(outlet.get())
    await asyncio.sleep(0)
    assert not reading.done()
    outlet.put(LAST)
    assert (await reading).text == "end"


async def test_an_error_ends_the_answer() -> None:
    outlet = Outlet(max_unread=4)
    outlet.put(DeadlineExceeded("too late"))
    outlet.put(LAST)
    assert outlet.closed
    for _ in range(2):
        with pytest.raises(DeadlineExceeded):
            await outlet.get()


async def test_a_reader_too_far_behind_loses_the_answer_and_nothing_is_kept() -> None:
    outlet = Outlet(max_unread=3)
    for token in range(4):
        assert not outlet.closed
        outlet.put(TokenEvent((token,), "x"))
    assert outlet.closed
    assert not outlet._events
    with pytest.raises(ResourceExhausted) as raised:
        await outlet.get()
    assert raised.value.reason == "READER_TOO_SLOW"
