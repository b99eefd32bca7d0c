"""Bounds of work in progress and of what tenants may keep."""

import asyncio

import pytest

from services.common.errors import ResourceExhausted
from services.gateway.quota import Quota
from services.gateway.slots import Slots

pytestmark = pytest.mark.unit


def test_work_past_the_limit_is_refused_with_a_time_to_retry_until_a_slot_is_free() -> None:
    slots = Slots(1, "chats")
    with slots.take():
        with pytest.raises(ResourceExhausted) as raised, slots.take():
            pytest.fail("there was no slot")
        assert raised.value.reason == "GATEWAY_BUSY"
        assert raised.value.retry_after_seconds
    with slots.take():
        pass


async def stored(tenant: str) -> int:
    await asyncio.sleep(0)
    return {"full": 100, "half": 50}.get(tenant, 0)


async def test_an_account_begins_with_what_is_stored() -> None:
    quota = Quota(100, stored)
    async with quota.account("half") as account:
        account.take(50)
        with pytest.raises(ResourceExhausted) as raised:
            account.take(1)
    assert raised.value.reason == "UPLOAD_QUOTA_EXCEEDED"
    assert raised.value.retry_after_seconds is None


async def test_uploads_at_the_same_time_share_one_account() -> None:
    quota = Quota(100, stored)

    async def upload(size: int) -> bool:
        async with quota.account("empty") as account:
            try:
                account.take(size)
            except ResourceExhausted:
                return False
            await asyncio.sleep(0.01)
            return True

    assert sorted(await asyncio.gather(upload(60), upload(60))) == [False, True]


async def test_what_was_not_stored_is_given_back() -> None:
    quota = Quota(100, stored)
    async with quota.account("half") as account, quota.account("half") as same:
        account.take(50)
        account.give_back(50)
        same.take(50)


async def test_tenants_do_not_share_an_account() -> None:
    quota = Quota(100, stored)
    async with quota.account("full"), quota.account("half") as half:
        half.take(50)
