-- What all of quota's scripts share; the store puts it before each. The rules are those of gcra.py and holds.py, line by line.
--
-- KEYS    one bucket's state, the same fixed set for every script (keys.py):
--   1 counters  hash    limit's owner -> {newest number, running holds, requests bucket, tokens bucket}
--   2 holds     hash    reservation -> {counters field, number, tokens, reserved, renewed or 0, the ask}
--   3 nonces    hash    owner and nonce -> {reservation, ask, reserved, first end}
--   4 ends      zset    by the microsecond to look at each: h+reservation, n+nonce, t+counters field; and, until it is
--                       forgotten, how a reservation ended: c (committed), r (released), l (lapsed), e (estimated) + reservation
--   5 outbox    stream  b: the settlement, t: when, r: 0; or for an estimate b: the ask, t: last renewal, r: reserved at
-- ARGV    the first five are the terms (holds.py): 1 hold_us, 2 remember_us, 3 idle_us, 4 sweep at most, 5 outbox at most
-- TIME    Redis's own (TIME), read once a call, in microseconds; every reply begins with it. Replicas' clocks play no part.
-- ATOMIC  a script runs alone, so that limits are taken all or none and settling is one step with its outbox entry; MULTI can't
--         look before it writes.
-- Numbers are whole and below 2^53, where Lua's doubles are exact.
local COUNTERS, HOLDS, NONCES, ENDS, OUTBOX = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local UNITS, MOST_UNITS, MOST_AMOUNT, MOST_CHARGES = 60000000, 9000000000000000, 100000000, 128
local HOLD_US, REMEMBER_US, IDLE_US = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local SWEEP_MOST, OUTBOX_MOST = tonumber(ARGV[4]), tonumber(ARGV[5])

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local appended = 0

-- A number as Redis should read it: Lua would write large ones as 1e+15.
local function text(number)
  return string.format('%.0f', number)
end

-- gcra.py. A bucket is {at, rate, closed (0 or 1), {number, units, number, units, ...}}, oldest charge first.

local function level(bucket)
  local sum = 0
  for place = 2, #bucket[4], 2 do
    sum = sum + bucket[4][place]
  end
  return sum
end

local function pop(charges)
  charges[#charges] = nil
  charges[#charges] = nil
end

local function leak(bucket, rate)
  local leaked = math.min(bucket[2], rate) * math.max(0, now - bucket[1])
  local charges = bucket[4]
  while #charges > 0 and leaked > 0 do
    local units = charges[#charges]
    if units > leaked then
      charges[#charges] = units - leaked
      break
    end
    leaked = leaked - units
    pop(charges)
    bucket[3] = 0
  end
  bucket[1] = math.max(now, bucket[1])
  bucket[2] = rate
end

local function wait_us(bucket, amount, burst)
  if amount > burst then
    return -1
  end
  local over = level(bucket) - (burst - amount) * UNITS
  if over <= 0 then
    return 0
  end
  local rest = math.fmod(over, bucket[2])
  return (over - rest) / bucket[2] + (rest > 0 and 1 or 0)
end

local function join(charges, place)
  charges[place + 2] = charges[place] + charges[place + 2]
  table.remove(charges, place - 1)
  table.remove(charges, place - 1)
end

local function push(bucket, number, units, closed)
  local charges = bucket[4]
  charges[#charges + 1] = number
  charges[#charges + 1] = units
  if bucket[3] == 1 and #charges > 2 then
    join(charges, #charges - 2)
  end
  if #charges > 2 * MOST_CHARGES then
    join(charges, 2)
  end
  bucket[3] = closed
end

local function take(bucket, number, amount)
  if amount > 0 then
    push(bucket, number, amount * UNITS, 0)
  end
end

local function owe(bucket, number, amount)
  local units = math.min(math.min(amount, MOST_AMOUNT) * UNITS, MOST_UNITS - level(bucket))
  if units > 0 then
    push(bucket, number, units, 1)
  end
end

local function give_back(bucket, number, amount)
  local charges, left = bucket[4], amount * UNITS
  local place = #charges
  while place > 0 and charges[place - 1] > number do
    place = place - 2
  end
  while place > 0 and left > 0 do
    local units = charges[place]
    if units > left then
      charges[place] = units - left
      break
    end
    left = left - units
    if place == #charges then
      bucket[3] = 0
    end
    table.remove(charges, place - 1)
    table.remove(charges, place - 1)
    place = place - 2
  end
end

local function close(bucket, number)
  local charges = bucket[4]
  for place = 2, #charges, 2 do
    if charges[place - 1] == number then
      if place == #charges then
        bucket[3] = 1
      else
        join(charges, place)
      end
      return
    end
  end
end

local function available(bucket, burst)
  local free = burst * UNITS - level(bucket)
  local rest = math.fmod(free, UNITS)
  if rest < 0 then
    rest = rest + UNITS
  end
  return (free - rest) / UNITS
end

-- holds.py.

local function load(field)
  local packed = redis.call('HGET', COUNTERS, field)
  return packed and cmsgpack.unpack(packed) or nil
end

local function save(field, counters)
  redis.call('HSET', COUNTERS, field, cmsgpack.pack(counters))
end

-- Counters as they are now, each bucket leaking at the rate it is known by.
local function current(field)
  local counters = load(field)
  if counters then
    leak(counters[3], counters[3][2])
    leak(counters[4], counters[4][2])
  end
  return counters
end

local function remember(reservation, how)
  redis.call('ZADD', ENDS, text(now + REMEMBER_US), how .. reservation)
end

-- A settlement, or with `reserved` the ask of a hold since then, for an estimate.
local function append(entry, at, reserved)
  redis.call('XADD', OUTBOX, '*', 'b', entry, 't', text(at), 'r', text(reserved))
  appended = appended + 1
end

-- End a hold that used this much of what it held.
local function settle(reservation, hold, requests, tokens, how)
  local counters = current(hold[1])
  if counters then
    counters[2] = math.max(0, counters[2] - 1)
    give_back(counters[3], hold[2], 1 - requests)
    give_back(counters[4], hold[2], math.max(0, hold[3] - tokens))
    close(counters[3], hold[2])
    close(counters[4], hold[2])
    if tokens > hold[3] then
      counters[1] = counters[1] + 1
      owe(counters[4], counters[1], tokens - hold[3])
    end
    save(hold[1], counters)
  end
  redis.call('HDEL', HOLDS, reservation)
  redis.call('ZREM', ENDS, 'h' .. reservation)
  remember(reservation, how)
end

-- Look at up to `most` things whose time has come.
local function sweep(most)
  local due = redis.call('ZRANGEBYSCORE', ENDS, '-inf', text(now), 'LIMIT', 0, most)
  for _, member in ipairs(due) do
    local kind, name = string.sub(member, 1, 1), string.sub(member, 2)
    redis.call('ZREM', ENDS, member)
    if kind == 'h' then
      local packed = redis.call('HGET', HOLDS, name)
      local hold = packed and cmsgpack.unpack(packed)
      if hold and hold[5] > 0 then
        settle(name, hold, 1, hold[3], 'e')
        append(hold[6], hold[5], hold[4])
      elseif hold then
        settle(name, hold, 0, 0, 'l')
      end
    elseif kind == 'n' then
      redis.call('HDEL', NONCES, name)
    elseif kind == 't' then
      local counters = current(name)
      if counters and counters[2] == 0 and #counters[3][4] == 0 and #counters[4][4] == 0 then
        redis.call('HDEL', COUNTERS, name)
      elseif counters then
        redis.call('ZADD', ENDS, text(now + IDLE_US), member)
      end
    end
  end
  return #due
end
