-- What all of cache's scripts share; the store puts it before each.
--
-- KEYS    what a call about one scope of one tenant touches (keys.py), all in the tenant's slot:
--   1 entry       hash    g: generation, h: handle it was stored by, m: MAC, e: documents' epoch, a: answer; expires
--   2 flight      hash    g: generation, h: the leader's handle; its expiry is the flight's end
--   3 places      zset    handle of one who waits -> millisecond until which the place is kept; expires with the last
--   4 generation  string  a random id; missing, be it deleted or evicted, it is made anew, so that no older entry comes back
--   5 stats       hash    hits, misses, waits, stores
-- ARGV    1 flight_ms, 2 place_ms, 3 most waiting, 4 a random id for a generation that is missing
-- TIME    Redis's own, read once a call. Replicas' clocks play no part.
-- ATOMIC  a script runs alone, so that of many who find nothing exactly one leads; MULTI can't look before it writes.
-- A key of another type than ours was written by others: it is deleted, and with it what it says.
local ENTRY, FLIGHT, PLACES, GENERATION, STATS = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local FLIGHT_MS, PLACE_MS, MOST_WAITING = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

for place, kind in ipairs({'hash', 'hash', 'zset', 'string', 'hash'}) do
  local found = redis.call('TYPE', KEYS[place]).ok
  if found ~= kind and found ~= 'none' then
    redis.call('DEL', KEYS[place])
  end
end

-- A number as Redis should read it: Lua would write large ones as 1e+15.
local function text(number)
  return string.format('%.0f', number)
end

local function count(what)
  redis.pcall('HINCRBY', STATS, what, 1) -- what others wrote there may be no number: then it is not counted
end

-- The generation in force, made if there is none.
local function generation()
  local current = redis.call('GET', GENERATION)
  if not current then
    current = ARGV[4]
    redis.call('SET', GENERATION, current)
  end
  return current
end

-- The leader's handle, or nil. A flight of an older generation is none: its answer could not be stored.
local function leader(current)
  local flight = redis.call('HMGET', FLIGHT, 'g', 'h')
  if flight[1] == current and flight[2] then
    return flight[2]
  end
end

local function fly(current, handle)
  redis.call('DEL', FLIGHT)
  redis.call('HSET', FLIGHT, 'g', current, 'h', handle)
  redis.call('PEXPIRE', FLIGHT, FLIGHT_MS)
  redis.call('ZREM', PLACES, handle)
  return now + FLIGHT_MS
end

-- How many wait, those whose place has lapsed forgotten.
local function waiting()
  redis.call('ZREMRANGEBYSCORE', PLACES, '-inf', text(now))
  return redis.call('ZCARD', PLACES)
end

-- Keep a place; false if there is no room for a new one.
local function keep(handle)
  if waiting() >= MOST_WAITING and not redis.call('ZSCORE', PLACES, handle) then
    return false
  end
  redis.call('ZADD', PLACES, text(now + PLACE_MS), handle)
  redis.call('PEXPIRE', PLACES, PLACE_MS)
  return true
end

-- The answer's {'entry', MAC, epoch, answer}, or nil. One that may not be served is deleted: of an older generation or
-- epoch, incomplete, or to be refused.
local function entry(current, least_epoch, refuse)
  local found = redis.call('HMGET', ENTRY, 'g', 'm', 'e', 'a')
  if not found[1] then
    return nil
  end
  local epoch = tonumber(found[3])
  if refuse or found[1] ~= current or not (found[2] and epoch and found[4]) or epoch < least_epoch then
    redis.call('DEL', ENTRY)
    return nil
  end
  return {'entry', found[2], found[3], found[4]}
end
