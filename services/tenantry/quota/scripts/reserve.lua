-- Check and take all limits of a request, all or none; the same nonce gets the same hold. Refused while memory is full.
-- ARGV    1 counters field, 2 nonce field, 3 reservation, 4 ask, 5 tokens, 6 hold_us, 7 remember_us, 8 sweep at most,
--         9 outbox at most, 10 requests a minute, 11 request burst, 12 tokens a minute, 13 token burst, 14 concurrent
-- RESULT  {now, appended, 'held', ask, reserved, end} | {now, appended, 'refused', requests wait, tokens wait, 0 or 1 for
--         concurrent} (microseconds; -1: never) | {now, appended, 'full'}
local field, nonce, reservation, ask = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local tokens, hold_us, remember_us = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
sweep(tonumber(ARGV[8]), remember_us)

local known = redis.call('HGET', NONCES, nonce)
if known then
  known = cmsgpack.unpack(known)
  local ends = redis.call('ZSCORE', ENDS, 'h' .. known[1])
  return {now, appended, 'held', known[2], known[3], ends and tonumber(ends) or known[4]}
end
if redis.call('XLEN', OUTBOX) >= tonumber(ARGV[9]) then
  return {now, appended, 'full'}
end

local request_rate, token_rate = tonumber(ARGV[10]), tonumber(ARGV[12])
local counters = load(field) or {0, 0, {now, request_rate, 0, {}}, {now, token_rate, 0, {}}}
leak(counters[3], request_rate)
leak(counters[4], token_rate)
local request_wait = wait_us(counters[3], 1, tonumber(ARGV[11]))
local token_wait = wait_us(counters[4], tokens, tonumber(ARGV[13]))
local crowded = counters[2] >= tonumber(ARGV[14]) and 1 or 0
if request_wait ~= 0 or token_wait ~= 0 or crowded == 1 then
  return {now, appended, 'refused', request_wait, token_wait, crowded}
end

local number = counters[1] + 1
counters[1] = number
counters[2] = counters[2] + 1
take(counters[3], number, 1)
take(counters[4], number, tokens)
save(field, counters)
redis.call('HSET', HOLDS, reservation, cmsgpack.pack({field, number, tokens, now, 0, ask}))
redis.call('HSET', NONCES, nonce, cmsgpack.pack({reservation, ask, now, now + hold_us}))
redis.call('ZADD', ENDS, text(now + hold_us), 'h' .. reservation, text(now + remember_us), 'n' .. nonce,
  text(now + IDLE_US), 't' .. field)
return {now, appended, 'held', ask, now, now + hold_us}
