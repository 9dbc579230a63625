-- The rule of holds.py; how holds end is in endings.lua. A piece is {amounts, {field, number, field, number, ...}}.

local function load(field)
  local packed = redis.call('HGET', COUNTERS, field)
  return packed and cmsgpack.unpack(packed) or nil
end

local function save(field, counters)
  if redis.call('HSET', COUNTERS, field, cmsgpack.pack(counters)) == 1 then
    redis.call('ZADD', ENDS, text(now + IDLE_US), 't' .. field)
    if counters[3] ~= '' then
      redis.call('HINCRBY', CROWDS, counters[3], 1)
    end
  end
end

-- A subject is {field, 1 for the tenant's calendar or 2, crowd, others, limits}; a demand {calendar, calendar, subjects}.
local function find(subject, demand)
  local field, crowd = subject[1], subject[3]
  local counters = load(field)
  if not counters and crowd ~= '' and tonumber(redis.call('HGET', CROWDS, crowd) or 0) >= CROWD_MOST then
    field, crowd = subject[4], ''
    counters = load(field)
  end
  return field, counters_at(counters, subject[5], demand[subject[2]], crowd)
end

-- Check all limits and take them, all or none: the piece or nil, the limits that refuse, and what to warn of.
local function take_all(amounts, demand)
  local fields, found, full, waits, warnings, charged = {}, {}, {}, {}, {}, {}
  for place, subject in ipairs(demand[3]) do
    fields[place], found[place] = find(subject, demand)
    full[place] = add_waits(waits, place - 1, found[place], amounts, subject[5])
  end
  local refused = #waits > 0
  for place, subject in ipairs(demand[3]) do
    local counters = found[place]
    if not refused then
      counters_take(counters, amounts)
    end
    local said = add_warnings(warnings, place - 1, counters, subject[5], full[place])
    if not refused or said then
      save(fields[place], counters)
    end
    charged[2 * place - 1], charged[2 * place] = fields[place], counters[1]
  end
  return not refused and {amounts, charged} or nil, waits, warnings
end

-- For requests, tokens of input and output, and prices for a million tokens; each part is exact.
local function amounts_of(requests, input, output, input_price, output_price)
  local input_rest, output_rest = input % 1000000, output % 1000000
  local cost = (input - input_rest) / 1000000 * input_price + (output - output_rest) / 1000000 * output_price
    + divided_up(input_rest * input_price + output_rest * output_price, 1000000)
  return {requests, input + output, input, output, cost}
end

local function held_by(hold)
  if #hold[1] == 1 then
    return hold[1][1][1]
  end
  local sum = {0, 0, 0, 0, 0}
  for _, piece in ipairs(hold[1]) do
    for place, amount in ipairs(piece[1]) do
      sum[place] = sum[place] + amount
    end
  end
  return sum
end
