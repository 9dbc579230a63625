-- Store the answer of a flight and end it. Again with the same handle, after it was stored, changes nothing.
-- ARGV    5 handle, 6 MAC, 7 epoch, 8 answer, 9 ttl in ms
-- RESULT  1, or 0 when the flight is not this handle's or of an older generation
local handle = ARGV[5]
local current = redis.call('GET', GENERATION)
if not current then
  return 0
end
if leader(current) ~= handle then
  local stored = redis.call('HMGET', ENTRY, 'g', 'h')
  return (stored[1] == current and stored[2] == handle) and 1 or 0
end
redis.call('DEL', ENTRY, FLIGHT, PLACES)
redis.call('HSET', ENTRY, 'g', current, 'h', handle, 'm', ARGV[6], 'e', ARGV[7], 'a', ARGV[8])
redis.call('PEXPIRE', ENTRY, ARGV[9])
count('stores')
return 1
