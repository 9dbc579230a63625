-- What the scripts of a pool's queue share: how its state is named, read and written. The store puts it before each, and
-- then queue.lua, the rules.
--
-- KEYS    one pool's state, the same fixed set for every script, whatever waits (keys.py):
--   1 state       string  the pool's figures (below)
--   2 orgs        zset    organisations in the order, by their counters
--   3 tenants     zset    tenants in the order, by member: organisation, counter, tenant; all with score 0
--   4 waiting     zset    waiting calls, by member: tenant, 9 less priority, number, ticket; all with score 0
--   5 tickets     hash    ticket -> tenant, priority, input, deadline, size, number, backlog, granted or 0, counted
--   6 accounts    hash    o+organisation and t+tenant -> their figures
--   7 ends        zset    by the microsecond to look at each: k+ticket, t+tenant, w, x+ticket
--   8 owing       zset    organisations by their weighted backlog
--   9 backlogs    zset    tenants with a backlog, by member: organisation, backlog, tenant; all with score 0
--   10 news       stream  waiting calls that another call granted (g: 1) or dropped (g: 0), the last few thousand
-- ARGV    1 lease_us, 2 idle_us, 3 remember_us, 4 batch (QueueTerms), 5 seats or tokens, 6 capacity, 7 input weight, 8 output
--         weight, 9 most waiting, 10 adaptive 0 or 1 (PoolSettings), 11 a fresh epoch
-- RESULT  every reply begins {now, epoch, {ticket, 1 or 0 for each piece of this call's news}}
-- TIME    Redis's own (TIME), read once a call, in microseconds. Replicas' clocks play no part.
-- ATOMIC  a script runs alone: a seat is seen free and taken in one step, and given back and granted to the next in one.
-- Parts of members have their length before them or a fixed width, so that none can be mistaken for another's. Numbers are
-- whole and below 2^53, where Lua's doubles are exact; only the expected wait is reckoned in doubles.
local STATE, ORGS, TENANTS, WAITING, TICKETS = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local ACCOUNTS, ENDS, OWING, BACKLOGS, NEWS = KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local LEASE_US, IDLE_US, REMEMBER_US, BATCH = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local IN_SEATS, CAPACITY = ARGV[5] == 'seats', tonumber(ARGV[6])
local INPUT_WEIGHT, OUTPUT_WEIGHT, MOST_WAITING = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local ADAPTIVE, FRESH = ARGV[10] == '1', ARGV[11]
local MOST_COUNTER, MOST_PRIORITY, MOST_NEWS = 9007199254740991, 9, 4096
local MOST_RETRY_AFTER_US, STEPS, TICK_US, LONGEST_TICKS, MEMORY, THOUSAND = 60000000, 100, 100, 36000000, 64, 1000

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local news = {}
-- The rules. In a table, since each local that functions share costs a call's time once a function.
local vtc = {}

-- Of equal width, numbers sort as they count. (Arguments of commands are written in full by Redis itself.)
local function wide(number)
  return string.format('%016.0f', number)
end

local function counted(name)
  return #name .. ':' .. name
end

-- Whole division of whole numbers, rounded down.
local function divided(amount, by)
  local rest = math.fmod(amount, by)
  if rest < 0 then
    rest = rest + by
  end
  return (amount - rest) / by, rest
end

-- State: loaded once a call, written back by `finish`.

function vtc.history()
  return string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')
end

-- What is stored are values one after the other: with their names they would take twice as long to pack.

function vtc.as_pool(epoch, history, used, waiting, number, weights, last, last_org, ...)
  local limit, answered, cut, held, calls, hold, ticks, charge = ...
  return {epoch = epoch, history = history, used = used, waiting = waiting, number = number, weights = weights, last = last,
    last_org = last_org, limit = limit, answered = answered, cut = cut, held = held, calls = calls, hold = hold,
    ticks = ticks, charge = charge}
end

function vtc.as_organisation(counter, members, ready, weights, backlog, last, last_tenant)
  return {counter = counter, members = members, ready = ready, weights = weights, backlog = backlog, last = last,
    last_tenant = last_tenant}
end

function vtc.as_tenant(org, weight, most, seen, counter, rest, running, waiting, backlog, ready)
  return {org = org, weight = weight, most = most, seen = seen, counter = counter, rest = rest, running = running,
    waiting = waiting, backlog = backlog, ready = ready}
end

function vtc.as_ticket(name, tenant, priority, input, deadline, size, number, backlog, granted, counted)
  return {name = name, tenant = tenant, priority = priority, input = input, deadline = deadline, size = size,
    number = number, backlog = backlog, granted = granted, counted = counted}
end

local stored = redis.call('GET', STATE)
local pool = stored and vtc.as_pool(cmsgpack.unpack(stored))
  or vtc.as_pool(FRESH, vtc.history(), 0, 0, 0, 0, 0, '', 0, 0, 0, 0, 0, 0, 0, 0)
local organisations, tenants, tickets = {}, {}, {}

function vtc.organisation_of(name)
  if organisations[name] == nil then
    local packed = redis.call('HGET', ACCOUNTS, 'o' .. name)
    organisations[name] = packed and vtc.as_organisation(cmsgpack.unpack(packed)) or false
  end
  return organisations[name]
end

function vtc.tenant_of(name)
  if tenants[name] == nil then
    local packed = redis.call('HGET', ACCOUNTS, 't' .. name)
    tenants[name] = packed and vtc.as_tenant(cmsgpack.unpack(packed)) or false
  end
  return tenants[name]
end

function vtc.ticket_of(name)
  if tickets[name] == nil then
    local packed = redis.call('HGET', TICKETS, name)
    tickets[name] = packed and vtc.as_ticket(name, cmsgpack.unpack(packed)) or false
  end
  return tickets[name]
end

function vtc.save_ticket(ticket)
  tickets[ticket.name] = ticket
  redis.call('HSET', TICKETS, ticket.name, cmsgpack.pack(ticket.tenant, ticket.priority, ticket.input, ticket.deadline,
    ticket.size, ticket.number, ticket.backlog, ticket.granted, ticket.counted))
end

function vtc.finish()
  local changed = {}
  for name, one in pairs(organisations) do
    if one then
      changed[#changed + 1] = 'o' .. name
      changed[#changed + 1] = cmsgpack.pack(one.counter, one.members, one.ready, one.weights, one.backlog, one.last,
        one.last_tenant)
    end
  end
  for name, one in pairs(tenants) do
    if one then
      changed[#changed + 1] = 't' .. name
      changed[#changed + 1] = cmsgpack.pack(one.org, one.weight, one.most, one.seen, one.counter, one.rest, one.running,
        one.waiting, one.backlog, one.ready)
    end
  end
  if #changed > 0 then
    redis.call('HSET', ACCOUNTS, unpack(changed))
  end
  redis.call('SET', STATE, cmsgpack.pack(pool.epoch, pool.history, pool.used, pool.waiting, pool.number, pool.weights,
    pool.last, pool.last_org, pool.limit, pool.answered, pool.cut, pool.held, pool.calls, pool.hold, pool.ticks, pool.charge))
end

function vtc.tell(name, granted)
  news[#news + 1] = name
  news[#news + 1] = granted
  redis.call('XADD', NEWS, 'MAXLEN', '~', MOST_NEWS, '*', 't', name, 'g', granted)
end
