-- Move the end of a hold; from the first time on it is no longer free of charge when it ends unsettled.
-- ARGV    1 reservation, 2 hold_us, 3 remember_us, 4 sweep at most
-- RESULT  {now, appended, end}, end 0 when there is no such hold
local hold_us = tonumber(ARGV[2])
sweep(tonumber(ARGV[4]), tonumber(ARGV[3]))
local packed = redis.call('HGET', HOLDS, ARGV[1])
if not packed then
  return {now, appended, 0}
end
local hold = cmsgpack.unpack(packed)
hold[5] = now
redis.call('HSET', HOLDS, ARGV[1], cmsgpack.pack(hold))
redis.call('ZADD', ENDS, text(now + hold_us), 'h' .. ARGV[1])
return {now, appended, now + hold_us}
