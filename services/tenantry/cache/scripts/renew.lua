-- Move the end of a flight.
-- ARGV    5 handle
-- RESULT  {end, how many wait} | {} when the flight is not this handle's
local current = redis.call('GET', GENERATION)
if not current or leader(current) ~= ARGV[5] then
  return {}
end
redis.call('PEXPIRE', FLIGHT, FLIGHT_MS)
return {now + FLIGHT_MS, waiting()}
