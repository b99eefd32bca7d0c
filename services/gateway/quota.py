"""How many bytes a tenant's uploads may take together."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from services.common.errors import ResourceExhausted


class Account:
    """Bytes of one tenant, while uploads of it are in progress."""

    def __init__(self, used_bytes: int, quota_bytes: int) -> None:
        self._used_bytes = used_bytes
        self._quota_bytes = quota_bytes
        self.holders = 0

    def take(self, size: int) -> None:
        """Count bytes that are about to be stored.

        Raises:
            ResourceExhausted: they would pass the quota (UPLOAD_QUOTA_EXCEEDED).
        """
        if self._used_bytes + size > self._quota_bytes:
            raise ResourceExhausted(
                f"uploads may take {self._quota_bytes} bytes together; delete some, or wait until they expire",
                reason="UPLOAD_QUOTA_EXCEEDED",
                metadata={"quota_bytes": str(self._quota_bytes), "used_bytes": str(self._used_bytes)},
            )
        self._used_bytes += size

    def give_back(self, size: int) -> None:
        """Return bytes that were not stored after all."""
        self._used_bytes -= size


class Quota:
    """Accounts of all tenants with uploads in progress.

    An account is opened from what the store holds and shared by the tenant's uploads at the same time, so they cannot
    each take the same free bytes. Several gateways over one store do not see each other's uploads in progress.

    Args:
        quota_bytes: most bytes of one tenant.
        stored_bytes: asks the store how many bytes a tenant has there.
    """

    def __init__(self, quota_bytes: int, stored_bytes: Callable[[str], Awaitable[int]]) -> None:
        self._quota_bytes = quota_bytes
        self._stored_bytes = stored_bytes
        self._accounts: dict[str, Account] = {}
        self._opening = asyncio.Lock()

    @asynccontextmanager
    async def account(self, tenant: str) -> AsyncIterator[Account]:
        """The tenant's account for the time of one upload."""
        async with self._opening:
            account = self._accounts.get(tenant)
            if account is None:
                account = Account(await self._stored_bytes(tenant), self._quota_bytes)
                self._accounts[tenant] = account
            account.holders += 1
        try:
            yield account
        finally:
            account.holders -= 1
            if account.holders == 0:
                del self._accounts[tenant]
