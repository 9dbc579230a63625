-- What all of quota's scripts share. The store puts head and state before each, then taking where something is taken, then endings. They
-- are the rules of the Python files, line by line; names differ where one chunk holds them all. A function costs a fifth of a
-- microsecond and a hundred bytes to make, at each call, so a script has those that it may need.
--
-- KEYS    one bucket's state, the same fixed set for every script (keys.py):
--   1 counters  hash    subject of limits -> {newest number, running, crowd, four rates, four budgets} (state.lua)
--   2 holds     hash    reservation -> {pieces, reserved, renewed or 0, the ask, most output, input price, output price}
--   3 nonces    hash    tenant and nonce -> {reservation, the ask, reserved, first end, held output}
--   4 ends      zset    by the microsecond to look at each: h+reservation, n+nonce, t+counters field, o+outputs field; and, until
--                       it is forgotten, how a reservation ended: c (committed), r (released), l (lapsed), e (estimated)
--   5 outbox    stream  b: the settlement, t: when, r: 0; or for an estimate b: the ask, t: last renewal, r: reserved at, o: the
--                       output and c: the cost that it held
--   6 ended     hash    reservation -> the hold that lapsed or was estimated
--   7 outputs   hash    tenant and model -> {samples, largest, count, largest, count, ...} (taking.lua)
--   8 crowds    hash    crowd -> how many counters it has
-- ARGV    the first seven are the terms (holds.py): 1 hold_us, 2 remember_us, 3 idle_us, 4 sweep at most, 5 outbox at most, 6 crowd
--         at most, 7 outputs_us
-- TIME    Redis's own (TIME), read once a call, in microseconds; every reply begins with it. Replicas' clocks play no part.
-- ATOMIC  a script runs alone, so that limits are taken all or none and settling is one step with its outbox entry; MULTI can't
--         look before it writes.
-- Numbers are whole and below 2^53, where Lua's doubles are exact.
local COUNTERS, HOLDS, NONCES, ENDS, OUTBOX, ENDED, OUTPUTS, CROWDS = unpack(KEYS)
local HOLD_US, REMEMBER_US, IDLE_US = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local SWEEP_MOST, OUTBOX_MOST, CROWD_MOST = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local OUTPUTS_US = tonumber(ARGV[7])

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local appended = 0

-- A number as Redis should read it: Lua would write large ones as 1e+15.
local function text(number)
  return string.format('%.0f', number)
end

-- Whole division, rounded up, exact where `a / b` is not.
local function divided_up(a, b)
  local rest = math.fmod(a, b)
  return (a - rest) / b + (rest > 0 and 1 or 0)
end
