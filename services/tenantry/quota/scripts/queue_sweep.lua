-- Look at what has ended, and grant what fits, for pools that no call looks at. A pool of which nothing is left is forgotten.
-- ARGV    1-11 as in queue_state.lua, 12 how many at most
-- RESULT  {now, epoch, news, how many were looked at, 1 if the pool is forgotten}
local swept = vtc.sweep(tonumber(ARGV[12]))
vtc.finish()
local forgotten = redis.call('EXISTS', ACCOUNTS) == 0
if forgotten then
  redis.call('DEL', STATE, NEWS)
end
return {now, pool.epoch, news, swept, forgotten and 1 or 0}
