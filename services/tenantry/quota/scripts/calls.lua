-- Count calls that enter the mesh, all or none: `count` of calls.py, where a bucket is one charge. Refused while memory is full.
-- KEYS    1 counter: {level in units, at, rate}. It ends when it has leaked: none is the same as an empty one
-- ARGV    1 calls, 2 calls a minute, 3 burst, 4 more that may be counted ahead
-- RESULT  {now, microseconds to wait, counted ahead}: 0 to wait when counted, -1 when they never can be
-- TIME    Redis's own (TIME), in microseconds
-- ATOMIC  what is read and what is written must be one step, or two calls take the same room
-- Numbers are whole and below 2^53, where Lua's doubles are exact.
local UNITS = 60000000
local calls, rate, burst, ahead = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if calls > burst then
  return {now, -1, 0}
end

local packed = redis.call('GET', KEYS[1])
local level, at, known = 0, now, rate
if packed then
  level, at, known = unpack(cmsgpack.unpack(packed))
end
local since = math.max(0, now - at)
if known * since >= level then
  level = 0 -- as if it had ended, whether Redis has come to that or not
end
level = math.max(0, level - math.min(known, rate) * since)
local over = level - (burst - calls) * UNITS
if over > 0 then
  return {now, math.ceil(over / rate), 0}
end
-- What is left of the room, in whole calls: -over is exact.
local room = (-over - math.fmod(-over, UNITS)) / UNITS
ahead = math.min(ahead, math.floor(room / 2))
level = level + (calls + ahead) * UNITS
redis.call('SET', KEYS[1], cmsgpack.pack({level, math.max(now, at), rate}), 'PX', math.ceil(level / rate / 1000) + 1)
return {now, 0, ahead}
