-- Settle with the true usage and append it to the outbox, unless it was settled before. A hold that had lapsed or was estimated,
-- or of which nothing is known any more, is recorded all the same; what exceeds what was charged for it is owed.
-- ARGV    1-7 terms, 8 reservation, 9 outputs field or '', 10 input tokens, 11 output tokens, 12 cost, 13 entry
-- RESULT  {now, appended, 1 if this call settled it}
local MOST_SAMPLES = 400
local endings = made_endings()

local function add_output(outputs, tokens)
  if outputs[1] >= MOST_SAMPLES then
    outputs = endings.halved(outputs)
  end
  local largest, place = 1, 2
  while largest < tokens do
    largest = largest + math.max(1, math.floor(largest / 5))
  end
  while place < #outputs and outputs[place] < largest do
    place = place + 2
  end
  if outputs[place] ~= largest then
    table.insert(outputs, place, 0)
    table.insert(outputs, place, largest)
  end
  outputs[place + 1] = outputs[place + 1] + 1
  outputs[1] = outputs[1] + 1
  return outputs
end

local reservation, outputs, input, output = ARGV[8], ARGV[9], tonumber(ARGV[10]), tonumber(ARGV[11])
local used = {1, input + output, input, output, tonumber(ARGV[12])}
local packed = redis.call('HGET', HOLDS, reservation)
if packed then
  endings.settle(reservation, cmsgpack.unpack(packed), used, 'c')
else
  local known = redis.call('ZMSCORE', ENDS, 'c' .. reservation, 'r' .. reservation, 'l' .. reservation, 'e' .. reservation)
  if known[1] or known[2] then
    return {now, appended, 0}
  end
  local ended = redis.call('HGET', ENDED, reservation)
  if ended and (known[3] or known[4]) then
    local hold = cmsgpack.unpack(ended)
    endings.owe_all(hold, known[3] and used or endings.above(used, held_by(hold)))
  end
  redis.call('ZREM', ENDS, 'l' .. reservation, 'e' .. reservation)
  redis.call('HDEL', ENDED, reservation)
  endings.remember(reservation, 'c')
end
if outputs ~= '' then
  local known = redis.call('HGET', OUTPUTS, outputs)
  local added = add_output(known and cmsgpack.unpack(known) or {0}, output)
  if redis.call('HSET', OUTPUTS, outputs, cmsgpack.pack(added)) == 1 then
    redis.call('ZADD', ENDS, text(now + OUTPUTS_US), 'o' .. outputs)
  end
end
redis.call('XADD', OUTBOX, '*', 'b', ARGV[13], 't', text(now), 'r', '0')
appended = appended + 1
return {now, appended, 1}
