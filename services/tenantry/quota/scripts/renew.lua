-- Move the end of a hold; from the first time on it is no longer free of charge when it ends unsettled.
-- ARGV    1-5 terms, 6 reservation
-- RESULT  {now, appended, end}, end 0 when there is no such hold
local packed = redis.call('HGET', HOLDS, ARGV[6])
if not packed then
  return {now, appended, 0}
end
local hold = cmsgpack.unpack(packed)
hold[5] = now
redis.call('HSET', HOLDS, ARGV[6], cmsgpack.pack(hold))
redis.call('ZADD', ENDS, text(now + HOLD_US), 'h' .. ARGV[6])
return {now, appended, now + HOLD_US}
