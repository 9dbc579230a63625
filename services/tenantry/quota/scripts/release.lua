-- Give a hold back: it cost nothing, and nothing enters the ledger.
-- ARGV    1-5 terms, 6 reservation
-- RESULT  {now, appended, 1 if this call released it}
local packed = redis.call('HGET', HOLDS, ARGV[6])
if not packed then
  return {now, appended, 0}
end
settle(ARGV[6], cmsgpack.unpack(packed), 0, 0, 'r')
return {now, appended, 1}
