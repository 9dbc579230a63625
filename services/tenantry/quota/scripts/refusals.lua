-- Count refusals by the ten seconds that they are in. Each ten seconds end 50 s after they are over: those that are there are the last
-- 50 to 60 s, and a key has ended before the ring comes round to it.
-- KEYS    1-7 ring of zsets: tenant by its refusals
-- ARGV    tenant, refusals, tenant, refusals, ...
-- RESULT  nothing
-- TIME    Redis's own (TIME). ATOMIC: a count without its end would stay for ever
local time = redis.call('TIME')
local place = math.floor(time[1] / 10)
local key = KEYS[place % #KEYS + 1]
for at = 1, #ARGV, 2 do
  redis.call('ZINCRBY', key, ARGV[at + 1], ARGV[at])
end
redis.call('EXPIREAT', key, place * 10 + 60)
