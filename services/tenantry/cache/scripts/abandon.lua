-- End a flight without an answer, unless it is to be kept for those who wait. A handle that only waits gives up its place.
-- ARGV    5 handle, 6 1 to keep the flight if somebody waits
-- RESULT  {1 if the handle leads no more, how many wait}
local handle = ARGV[5]
redis.call('ZREM', PLACES, handle)
local others = waiting()
if redis.call('HGET', FLIGHT, 'h') == handle then
  if ARGV[6] == '1' and others > 0 and redis.call('HGET', FLIGHT, 'g') == redis.call('GET', GENERATION) then
    return {0, others}
  end
  redis.call('DEL', FLIGHT)
end
return {1, others}
