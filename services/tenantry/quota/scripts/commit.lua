-- Settle with the true usage and append it to the outbox, unless it was settled before. A hold that had lapsed or was estimated,
-- or of which nothing is known any more, is recorded all the same; what exceeds what was charged for it is owed.
-- ARGV    1-5 terms, 6 reservation, 7 counters field, 8 tokens held, 9 tokens used, 10 entry
-- RESULT  {now, appended, 1 if this call settled it}
local reservation, field, held, used, entry = ARGV[6], ARGV[7], tonumber(ARGV[8]), tonumber(ARGV[9]), ARGV[10]
sweep(SWEEP_MOST)
local packed = redis.call('HGET', HOLDS, reservation)
if packed then
  settle(reservation, cmsgpack.unpack(packed), 1, used, 'committed')
  append(entry, now, 0)
  return {now, appended, 1}
end
local how = redis.call('HGET', SETTLED, reservation)
if how == 'committed' or how == 'released' then
  return {now, appended, 0}
end
local counters = how and current(field)
if counters then
  local charged = how == 'estimated' and held or 0
  counters[1] = counters[1] + 1
  if how == 'lapsed' then
    owe(counters[3], counters[1], 1)
  end
  owe(counters[4], counters[1], math.max(0, used - charged))
  save(field, counters)
end
remember(reservation, 'committed')
append(entry, now, 0)
return {now, appended, 1}
