-- Forget all that is counted for a tenant, and let its holds lapse: what is settled for them later is still recorded. A page a call,
-- of holds, then of counters, then of outputs; fields are length-prefixed, so that the tenant's, and no other's, begin with its own.
-- ARGV    1-7 terms, 8 the tenant's counters field, 9 which (1 holds, 2 counters, 3 outputs), 10 cursor (0 to begin), 11 page
-- RESULT  {now, appended, next cursor as text ('0' at the end), holds that lapsed}
local field, which = ARGV[8], ARGV[9]
local key = which == '1' and HOLDS or which == '2' and COUNTERS or OUTPUTS
local page = redis.call('HSCAN', key, ARGV[10], 'COUNT', ARGV[11])
local endings, lapsed = made_endings(), 0
for place = 1, #page[2], 2 do
  local name, packed = page[2][place], page[2][place + 1]
  if redis.call('HEXISTS', key, name) == 0 then
    -- A page may name one twice.
  elseif which == '1' then
    local hold = cmsgpack.unpack(packed)
    if hold[1][1][2][1] == field then
      endings.settle(name, hold, {0, 0, 0, 0, 0}, 'l')
      lapsed = lapsed + 1
    end
  elseif string.sub(name, 1, #field) == field then
    if which == '2' then
      endings.drop(name, cmsgpack.unpack(packed))
    else
      redis.call('HDEL', OUTPUTS, name)
      redis.call('ZREM', ENDS, 'o' .. name)
    end
  end
end
return {now, appended, page[1], lapsed}
