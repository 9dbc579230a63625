-- Give a hold back: it cost nothing, and nothing enters the ledger.
-- ARGV    1 reservation, 2 remember_us, 3 sweep at most
-- RESULT  {now, appended, 1 if this call released it}
local remember_us = tonumber(ARGV[2])
sweep(tonumber(ARGV[3]), remember_us)
local packed = redis.call('HGET', HOLDS, ARGV[1])
if not packed then
  return {now, appended, 0}
end
settle(ARGV[1], cmsgpack.unpack(packed), 0, 0, 'released', remember_us)
return {now, appended, 1}
