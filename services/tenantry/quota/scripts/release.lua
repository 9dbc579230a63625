-- Give a hold back: it cost nothing, and nothing enters the ledger.
-- ARGV    1-7 terms, 8 reservation
-- RESULT  {now, appended, 1 if this call released it}
local packed = redis.call('HGET', HOLDS, ARGV[8])
if not packed then
  return {now, appended, 0}
end
made_endings().settle(ARGV[8], cmsgpack.unpack(packed), {0, 0, 0, 0, 0}, 'r')
return {now, appended, 1}
