-- Settle with the true usage and append it to the outbox, unless it was settled before. A hold that had lapsed or was estimated,
-- or of which nothing is known any more, is recorded all the same; what exceeds what was charged for it is owed.
-- ARGV    1-5 terms, 6 reservation, 7 counters field, 8 tokens held, 9 tokens used, 10 entry
-- RESULT  {now, appended, 1 if this call settled it}
local reservation, field, held, used, entry = ARGV[6], ARGV[7], tonumber(ARGV[8]), tonumber(ARGV[9]), ARGV[10]
local packed = redis.call('HGET', HOLDS, reservation)
if packed then
  settle(reservation, cmsgpack.unpack(packed), 1, used, 'c')
  append(entry, now, 0)
  return {now, appended, 1}
end
local known = redis.call('ZMSCORE', ENDS, 'c' .. reservation, 'r' .. reservation, 'l' .. reservation, 'e' .. reservation)
if known[1] or known[2] then
  return {now, appended, 0}
end
local lapsed, estimated = known[3], known[4]
local counters = (lapsed or estimated) and current(field)
if counters then
  local charged = estimated and held or 0
  counters[1] = counters[1] + 1
  if lapsed then
    owe(counters[3], counters[1], 1)
  end
  owe(counters[4], counters[1], math.max(0, used - charged))
  save(field, counters)
end
redis.call('ZREM', ENDS, 'l' .. reservation, 'e' .. reservation)
remember(reservation, 'c')
append(entry, now, 0)
return {now, appended, 1}
