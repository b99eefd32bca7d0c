"""Values in Redis that never hold more than a given number of bytes together: the least recently used go first.

Redis' own eviction is no help where the server is told to evict nothing, so each write keeps the account itself, in one
script that Redis runs as a whole:

    {auricle.embeddings}:value:KEY    the value, with a time to live that every use renews
    {auricle.embeddings}:used         sorted set: value's name -> time of last use, in ms of the server's clock
    {auricle.embeddings}:sizes        hash: value's name -> bytes
    {auricle.embeddings}:total        sum of the sizes

The braces put all of them on one node of a cluster.
"""

from typing import cast

from redis.asyncio import Redis

PREFIX = "{auricle.embeddings}:"
USED, SIZES, TOTAL = f"{PREFIX}used", f"{PREFIX}sizes", f"{PREFIX}total"

# The first line makes Redis refuse the script while it is out of memory, rather than let a cache push the rest out.
_NOW = """#!lua
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

# A value whose last use is older than its time to live is gone already; its account is settled first.
_PUT = (
    _NOW
    + """
local name, used, sizes, total = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local value, ttl_ms, max_bytes = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

local function drop(old)
  redis.call('UNLINK', old)
  redis.call('ZREM', used, old)
  redis.call('DECRBY', total, redis.call('HGET', sizes, old) or 0)
  redis.call('HDEL', sizes, old)
end

drop(name)
local expired = redis.call('ZRANGEBYSCORE', used, '-inf', string.format('%d', now - ttl_ms), 'LIMIT', 0, 1000)
for _, old in ipairs(expired) do drop(old) end
while tonumber(redis.call('GET', total)) + #value > max_bytes do
  local oldest = redis.call('ZRANGE', used, 0, 0)[1]
  if not oldest then redis.call('SET', total, 0) break end
  drop(oldest)
end
redis.call('SET', name, value, 'PX', ttl_ms)
redis.call('ZADD', used, string.format('%d', now), name)
redis.call('HSET', sizes, name, #value)
return redis.call('INCRBY', total, #value)
"""
)

_TOUCH = (
    _NOW
    + """
if redis.call('PEXPIRE', KEYS[1], ARGV[1]) == 1 then
  redis.call('ZADD', KEYS[2], 'XX', string.format('%d', now), KEYS[1])
end
"""
)


class BoundedStore:
    """Least-recently-used values in Redis, shared by every process that names the same server.

    Args:
        redis: client that returns bytes; its errors pass through.
        max_bytes: bytes of all values together. A value larger than this must not be put.
        ttl_seconds: life of a value after its last use.
    """

    def __init__(self, redis: Redis, max_bytes: int, ttl_seconds: float) -> None:
        self._redis = redis
        self._max_bytes = max_bytes
        self._ttl_ms = int(ttl_seconds * 1000)
        self._put = redis.register_script(_PUT)
        self._touch = redis.register_script(_TOUCH)

    async def get(self, key: str) -> bytes | None:
        """The value, or None. Does not count as a use: `touch` does, off the path of a request."""
        return cast("bytes | None", await self._redis.get(f"{PREFIX}value:{key}"))

    async def put(self, key: str, value: bytes) -> int:
        """Store the value, evict what no longer fits, and return the bytes stored in all."""
        keys = [f"{PREFIX}value:{key}", USED, SIZES, TOTAL]
        total: int = await self._put(keys=keys, args=[value, self._ttl_ms, self._max_bytes])
        return total

    async def touch(self, key: str) -> None:
        """Note that the value was used now; nothing when it is gone."""
        await self._touch(keys=[f"{PREFIX}value:{key}", USED], args=[self._ttl_ms])
