-- Forget an owner's counters, and let its holds lapse: what is settled for them later is still recorded. A page of holds a call.
-- ARGV    1-5 terms, 6 counters field, 7 cursor (0 to begin), 8 page
-- RESULT  {now, appended, next cursor as text ('0' at the end), holds that lapsed}
local page = redis.call('HSCAN', HOLDS, ARGV[7], 'COUNT', ARGV[8])
local lapsed = 0
for place = 1, #page[2], 2 do
  local hold = cmsgpack.unpack(page[2][place + 1])
  if hold[1] == ARGV[6] and redis.call('HEXISTS', HOLDS, page[2][place]) == 1 then
    settle(page[2][place], hold, 0, 0, 'l')
    lapsed = lapsed + 1
  end
end
if page[1] == '0' then
  redis.call('HDEL', COUNTERS, ARGV[6])
  redis.call('ZREM', ENDS, 't' .. ARGV[6])
end
return {now, appended, page[1], lapsed}
