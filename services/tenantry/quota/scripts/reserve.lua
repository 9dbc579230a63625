-- Check and take all limits of a request, all or none; the same nonce gets the same hold. Refused while memory is full.
-- ARGV    1-7 terms, 8 nonce field, 9 outputs field, 10 reservation, 11 ask, 12 input tokens, 13 most output tokens, 14 input price,
--         15 output price, 16 demand (JSON)
-- RESULT  {now, appended, 'held', ask, reserved, end, held output, warnings} | {now, appended, 'refused', limits, warnings} |
--         {now, appended, 'full'}. A limit is {subject, measure, used, wait in microseconds (-1: never)}, a warning {subject,
--         measure, percent}; subjects and measures are counted from 0.
local nonce, outputs, reservation, ask = ARGV[8], ARGV[9], ARGV[10], ARGV[11]
local input, most, input_price, output_price = tonumber(ARGV[12]), tonumber(ARGV[13]), tonumber(ARGV[14]), tonumber(ARGV[15])
sweep(SWEEP_MOST)

local known = redis.call('HGET', NONCES, nonce)
if known then
  known = cmsgpack.unpack(known)
  local ends = redis.call('ZSCORE', ENDS, 'h' .. known[1])
  return {now, appended, 'held', known[2], known[3], ends and tonumber(ends) or known[4], known[5], {}}
end
if redis.call('XLEN', OUTBOX) >= OUTBOX_MOST then
  return {now, appended, 'full'}
end

local packed = redis.call('HGET', OUTPUTS, outputs)
local output = packed and expected_output(cmsgpack.unpack(packed), most) or most
local amounts = amounts_of(1, input, output, input_price, output_price)
local piece, waits, warnings = take_all(amounts, cjson.decode(ARGV[16]))
if not piece then
  return {now, appended, 'refused', waits, warnings}
end
redis.call('HSET', HOLDS, reservation, cmsgpack.pack({{piece}, now, 0, ask, most, input_price, output_price}))
redis.call('HSET', NONCES, nonce, cmsgpack.pack({reservation, ask, now, now + HOLD_US, output}))
redis.call('ZADD', ENDS, text(now + HOLD_US), 'h' .. reservation, text(now + REMEMBER_US), 'n' .. nonce)
return {now, appended, 'held', ask, now, now + HOLD_US, output, warnings}
