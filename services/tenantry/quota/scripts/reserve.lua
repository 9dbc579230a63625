-- Check and take all limits of a request, all or none; the same nonce gets the same hold. Refused while memory is full.
-- ARGV    1-5 terms, 6 counters field, 7 nonce field, 8 reservation, 9 ask, 10 tokens, 11 requests a minute, 12 request burst,
--         13 tokens a minute, 14 token burst, 15 concurrent requests
-- RESULT  {now, appended, 'held', ask, reserved, end} | {now, appended, 'refused', requests wait, tokens wait, 0 or 1 for
--         concurrent} (microseconds; -1: never) | {now, appended, 'full'}
local field, nonce, reservation, ask, tokens = ARGV[6], ARGV[7], ARGV[8], ARGV[9], tonumber(ARGV[10])
local request_rate, request_burst = tonumber(ARGV[11]), tonumber(ARGV[12])
local token_rate, token_burst, concurrent = tonumber(ARGV[13]), tonumber(ARGV[14]), tonumber(ARGV[15])
sweep(SWEEP_MOST)

local known = redis.call('HGET', NONCES, nonce)
if known then
  known = cmsgpack.unpack(known)
  local ends = redis.call('ZSCORE', ENDS, 'h' .. known[1])
  return {now, appended, 'held', known[2], known[3], ends and tonumber(ends) or known[4]}
end
if redis.call('XLEN', OUTBOX) >= OUTBOX_MOST then
  return {now, appended, 'full'}
end

local counters = load(field) or {0, 0, {now, request_rate, 0, {}}, {now, token_rate, 0, {}}}
leak(counters[3], request_rate)
leak(counters[4], token_rate)
local request_wait = wait_us(counters[3], 1, request_burst)
local token_wait = wait_us(counters[4], tokens, token_burst)
local crowded = counters[2] >= concurrent and 1 or 0
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
redis.call('HSET', NONCES, nonce, cmsgpack.pack({reservation, ask, now, now + HOLD_US}))
redis.call('ZADD', ENDS, text(now + HOLD_US), 'h' .. reservation, text(now + REMEMBER_US), 'n' .. nonce,
  text(now + IDLE_US), 't' .. field)
return {now, appended, 'held', ask, now, now + HOLD_US}
