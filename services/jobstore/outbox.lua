-- Events that webhooks are still to be told, one operation a call, atomic in Redis. record.lua writes them when a job ends.
--
-- KEYS: prefix. ARGV: operation, the operation's own arguments.
-- The set `outbox` holds when each job's event is to be told next, the hash `outbox:JOB` the event. A try is known by its
-- number: who was overtaken by a later try changes nothing any more.

local prefix, operation = KEYS[1], ARGV[1]
local operations = {}

local function is_current(id, attempt)
  return redis.call('HGET', prefix .. 'outbox:' .. id, 'attempts') == attempt
end

-- Take events that are due. They come back after the lease, in case whoever took them dies.
function operations.claim(now, lease_ms, count)
  local claimed = {}
  for _, id in ipairs(redis.call('ZRANGE', prefix .. 'outbox', '-inf', now, 'BYSCORE', 'LIMIT', 0, count)) do
    redis.call('ZADD', prefix .. 'outbox', now + lease_ms, id)
    redis.call('HINCRBY', prefix .. 'outbox:' .. id, 'attempts', 1)
    table.insert(claimed, {id, redis.call('HGETALL', prefix .. 'outbox:' .. id)})
  end
  return claimed
end

function operations.finish(id, attempt)
  if not is_current(id, attempt) then
    return 0
  end
  redis.call('ZREM', prefix .. 'outbox', id)
  return redis.call('UNLINK', prefix .. 'outbox:' .. id)
end

-- Tell it again at a time; `counted` is how many tries it then had.
function operations.postpone(id, attempt, at, counted)
  if not is_current(id, attempt) then
    return 0
  end
  redis.call('HSET', prefix .. 'outbox:' .. id, 'attempts', counted)
  redis.call('ZADD', prefix .. 'outbox', at, id)
  return 1
end

return operations[operation](unpack(ARGV, 2))
