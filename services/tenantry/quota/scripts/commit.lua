-- Settle with the true usage and append it to the outbox, unless it was settled before. A hold that had lapsed or was estimated,
-- or of which nothing is known any more, is recorded all the same; what exceeds what was charged for it is owed.
-- ARGV    1 reservation, 2 counters field, 3 tokens held, 4 tokens used, 5 entry, 6 remember_us, 7 sweep at most
-- RESULT  {now, appended, 1 if this call settled it}
local reservation, field, entry = ARGV[1], ARGV[2], ARGV[5]
local held, used, remember_us = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[6])
sweep(tonumber(ARGV[7]), remember_us)
local packed = redis.call('HGET', HOLDS, reservation)
if packed then
  settle(reservation, cmsgpack.unpack(packed), 1, used, 'committed', remember_us)
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
remember(reservation, 'committed', remember_us)
append(entry, now, 0)
return {now, appended, 1}
