-- Move the end of a hold; from the first time on it is no longer free of charge when it ends unsettled. Hold more output when what
-- is written so far wants it, which all limits are asked for.
-- ARGV    1-7 terms, 8 reservation, 9 output tokens so far, 10 demand (JSON) or ''
-- RESULT  {now, appended, 'renewed', end, held output, warnings} | {now, appended, 'refused', limits, warnings} (reserve.lua), when
--         more is written than held | {now, appended, 'gone'}
local LEAST_MORE = 64
local reservation, output = ARGV[8], tonumber(ARGV[9])
local packed = redis.call('HGET', HOLDS, reservation)
if not packed then
  return {now, appended, 'gone'}
end
local hold = cmsgpack.unpack(packed)
hold[3] = now
redis.call('ZADD', ENDS, text(now + HOLD_US), 'h' .. reservation)

local held = held_by(hold)[4]
local more = 0
if ARGV[10] ~= '' and output * 4 >= held * 3 then
  more = math.max(output, math.min(hold[5], output + math.max(LEAST_MORE, math.floor(output / 2)))) - held
end
local piece, waits, warnings = nil, {}, {}
if more > 0 then
  piece, waits, warnings = take_all(amounts_of(0, 0, more, hold[6], hold[7]), cjson.decode(ARGV[10]))
  hold[1][#hold[1] + 1] = piece
end
redis.call('HSET', HOLDS, reservation, cmsgpack.pack(hold))
if #waits > 0 and output > held then
  return {now, appended, 'refused', waits, warnings}
end
return {now, appended, 'renewed', now + HOLD_US, held + (piece and more or 0), warnings}
