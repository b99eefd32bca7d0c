-- Every change of a job, one operation a call, atomic in Redis. Told twice, an operation changes nothing the second time.
--
-- KEYS: prefix. ARGV: operation, now (ms), lost_after (ms), job id, the operation's own arguments.
-- A unit of work is "step/index"; its entry is {s=state, n=attempts, t=token, u=leased until, b=not before, r=resent}.
-- The set `due` holds, for each unit that is not finished, when somebody has to look after it. The hash `waiting` holds
-- milliseconds of audio that each tenant's jobs, and everybody's (*), still have before them.

local prefix, operation, now, lost_after, id = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local job = prefix .. id
local QUEUED, RUNNING, SUCCEEDED, FAILED, CANCELED = '1', '2', '3', '4', '5'
local MAX_RESENT_DOUBLINGS = 7

local function number(field)
  return tonumber(redis.call('HGET', job, field) or 0)
end

local function changed()
  redis.call('PUBLISH', prefix .. 'changed:' .. id, redis.call('HINCRBY', job, 'revision', 1))
end

local function is_active()
  local state = redis.call('HGET', job, 'state')
  return state == QUEUED or state == RUNNING
end

local function load(unit)
  local entry = redis.call('HGET', job .. ':units', unit)
  return entry and cjson.decode(entry)
end

local function save(unit, entry)
  redis.call('HSET', job .. ':units', unit, cjson.encode(entry))
end

local function look_after(unit, at)
  redis.call('ZADD', prefix .. 'due', at, id .. '/' .. unit)
end

local function forget(unit)
  redis.call('ZREM', prefix .. 'due', id .. '/' .. unit)
end

local function forget_all()
  for _, unit in ipairs(redis.call('HKEYS', job .. ':units')) do
    forget(unit)
  end
end

local function make_ready(unit)
  save(unit, {s = 'ready', n = 0})
  look_after(unit, now + lost_after)
  return unit
end

local function leased_to(unit, token)
  local entry = is_active() and load(unit)
  return entry and entry.s == 'leased' and entry.t == token and entry
end

-- Bring what the job still has before it up to date in the sums of its tenant and of all.
local function recount()
  local waiting = 0
  if is_active() then
    waiting = number('audio_ms')
    if number('prepared') == 0 then
      waiting = math.max(waiting, number('estimate_ms'))
    end
    waiting = waiting - number('ended_ms')
  end
  local more = waiting - number('waiting_ms')
  redis.call('HSET', job, 'waiting_ms', waiting)
  for _, whose in ipairs({redis.call('HGET', job, 'tenant'), '*'}) do
    if redis.call('HINCRBY', prefix .. 'waiting', whose, more) == 0 then
      redis.call('HDEL', prefix .. 'waiting', whose)
    end
  end
end

-- What a webhook is told, kept by itself: the job may be gone before its receiver answers. See outbox.lua.
local function note_webhook(state, expire)
  local url = redis.call('HGET', job, 'webhook')
  if url and url ~= '' then
    local facts = redis.call('HMGET', job, 'tenant', 'create_ms', 'start_ms')
    redis.call('HSET', prefix .. 'outbox:' .. id, 'url', url, 'tenant', facts[1], 'state', state,
      'create_ms', facts[2], 'start_ms', facts[3] or 0, 'end_ms', now, 'expire_ms', expire, 'attempts', 0)
    redis.call('ZADD', prefix .. 'outbox', now, id)
  end
end

local function end_job(state)
  local expire = now + number('ttl_ms')
  note_webhook(state, expire)
  redis.call('HSET', job, 'state', state, 'end_ms', now, 'expire_ms', expire)
  redis.call('ZADD', prefix .. 'expire', expire, id)
  forget_all()
  recount()
  changed()
end

-- Once every window has ended, one way or the other, the job can be finished.
local function finish_when_ready()
  if number('prepared') == 1 and number('finished') + number('failed') >= number('windows')
      and not load('finish/0') then
    return make_ready('finish/0')
  end
  return ''
end

local function window_ended(index, counter)
  redis.call('HINCRBY', job, counter, 1)
  redis.call('HINCRBY', job, 'ended_ms', redis.call('HGET', job .. ':windows', index .. ':ms'))
  recount()
  changed()
  return finish_when_ready()
end

local function give_up(unit, entry, error)
  save(unit, {s = 'failed', n = entry.n})
  forget(unit)
  local step, index = unit:match('^(%a+)/(%d+)$')
  if step == 'prepare' or step == 'finish' then
    redis.call('HSET', job, 'error', error)
    end_job(FAILED)
    return ''
  end
  redis.call('HSET', job .. ':errors', index, error)
  return window_ended(index, 'failed')
end

local operations = {}

-- The job that an earlier request of the same id made: none, the same, or another.
function operations.earlier(request_key, body)
  local earlier = request_key ~= '' and redis.call('HGET', prefix .. 'requests', request_key)
  local made_by = earlier and redis.call('HGET', prefix .. earlier, 'body')
  if not made_by then
    return {'none', ''}
  end
  return {made_by == body and 'same' or 'other', earlier}
end

function operations.create(tenant, spec, ttl_ms, estimate_ms, request_key, body, tenant_limit_ms, limit_ms, webhook)
  if redis.call('EXISTS', job) == 1 then
    return {'new', id}
  end
  local earlier = operations.earlier(request_key, body)
  if earlier[1] ~= 'none' then
    return earlier
  end
  local waiting = redis.call('HMGET', prefix .. 'waiting', tenant, '*')
  if tonumber(waiting[1] or 0) + estimate_ms > tonumber(tenant_limit_ms)
      or tonumber(waiting[2] or 0) + estimate_ms > tonumber(limit_ms) then
    return {'full', ''}
  end
  if request_key ~= '' then
    redis.call('HSET', prefix .. 'requests', request_key, id)
  end
  redis.call('HSET', job, 'tenant', tenant, 'spec', spec, 'ttl_ms', ttl_ms, 'estimate_ms', estimate_ms,
    'request_key', request_key, 'body', body, 'webhook', webhook, 'state', QUEUED, 'create_ms', now, 'revision', 1)
  redis.call('ZADD', prefix .. 'tenant:' .. tenant, now, id)
  recount()
  make_ready('prepare/0')
  return {'new', id}
end

function operations.claim(unit, token, lease_ms, max_attempts, lost_error)
  local entry = is_active() and load(unit)
  if not entry or entry.s == 'done' or entry.s == 'failed' then
    forget(unit)
    return {'gone', 0, ''}
  end
  if entry.s == 'leased' and entry.t == token then
    return {'leased', entry.n, ''}
  end
  if (entry.s == 'leased' and entry.u > now) or (entry.b and entry.b > now) then
    return {'busy', 0, ''}
  end
  if entry.n >= tonumber(max_attempts) then
    return {'gone', 0, give_up(unit, entry, lost_error)}
  end
  entry = {s = 'leased', t = token, u = now + lease_ms, n = entry.n + 1}
  save(unit, entry)
  look_after(unit, entry.u)
  if redis.call('HGET', job, 'state') == QUEUED then
    redis.call('HSET', job, 'state', RUNNING, 'start_ms', now)
    changed()
  end
  return {'leased', entry.n, ''}
end

function operations.renew(unit, token, lease_ms)
  local entry = leased_to(unit, token)
  if not entry then
    return 0
  end
  entry.u = now + lease_ms
  save(unit, entry)
  look_after(unit, entry.u)
  return 1
end

function operations.add_window(token, index, duration_ms, facts)
  if not leased_to('prepare/0', token) then
    return {'stale', ''}
  end
  if redis.call('HSETNX', job .. ':windows', index, facts) == 0 then
    return {'known', ''}
  end
  redis.call('HSET', job .. ':windows', index .. ':ms', duration_ms)
  redis.call('HINCRBY', job, 'windows', 1)
  redis.call('HINCRBY', job, 'audio_ms', duration_ms)
  recount()
  changed()
  return {'new', make_ready('encode/' .. index)}
end

function operations.complete(unit, token, payload, fact)
  local entry = leased_to(unit, token)
  if not entry then
    return {'stale', ''}
  end
  save(unit, {s = 'done', n = entry.n})
  forget(unit)
  local step, index = unit:match('^(%a+)/(%d+)$')
  local following = ''
  if step == 'prepare' then
    redis.call('HSET', job, 'prepared', 1, 'summary', payload)
    recount()
    changed()
    following = finish_when_ready()
  elseif step == 'encode' then
    redis.call('HINCRBY', job, 'encoded', 1)
    redis.call('HINCRBY', job, 'cached', fact)
    changed()
    following = make_ready('decode/' .. index)
  elseif step == 'decode' then
    redis.call('HSET', job .. ':results', index, payload)
    redis.call('RPUSH', job .. ':order', index)
    redis.call('HINCRBY', job, 'output_tokens', fact)
    following = window_ended(index, 'finished')
  else
    redis.call('HSET', job, 'result', payload)
    end_job(SUCCEEDED)
  end
  return {'done', following}
end

function operations.fail(unit, token, error, retry_at)
  local entry = leased_to(unit, token)
  if not entry then
    return {'stale', ''}
  end
  retry_at = tonumber(retry_at)
  if retry_at > 0 then
    save(unit, {s = 'ready', n = entry.n, b = retry_at})
    look_after(unit, retry_at)
    return {'retry', ''}
  end
  return {'failed', give_up(unit, entry, error)}
end

-- Units of any job that somebody has to look after. Until one of them is claimed the time to the next look doubles: a
-- unit that only waits in a long queue must not fill it.
function operations.overdue(count)
  local members = redis.call('ZRANGE', prefix .. 'due', '-inf', now, 'BYSCORE', 'LIMIT', 0, count)
  for _, member in ipairs(members) do
    local unit
    id, unit = member:match('^([^/]+)/(.+)$')
    job = prefix .. id
    local entry = load(unit)
    if entry then
      entry.r = (entry.r or 0) + 1
      save(unit, entry)
      look_after(unit, now + lost_after * 2 ^ math.min(entry.r, MAX_RESENT_DOUBLINGS))
    else
      forget(unit)
    end
  end
  return members
end

function operations.cancel()
  if is_active() then
    end_job(CANCELED)
  end
  return redis.call('HGET', job, 'state') or ''
end

function operations.delete()
  local facts = redis.call('HMGET', job, 'tenant', 'request_key')
  if not facts[1] then
    return 0
  end
  redis.call('HSET', job, 'state', CANCELED)
  recount()
  forget_all()
  redis.call('ZREM', prefix .. 'tenant:' .. facts[1], id)
  redis.call('ZREM', prefix .. 'expire', id)
  if facts[2] ~= '' then
    redis.call('HDEL', prefix .. 'requests', facts[2])
  end
  for _, part in ipairs({'', ':units', ':windows', ':results', ':errors', ':order'}) do
    redis.call('UNLINK', job .. part)
  end
  redis.call('PUBLISH', prefix .. 'changed:' .. id, 0)
  return 1
end

return operations[operation](unpack(ARGV, 5))
