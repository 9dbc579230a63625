-- The rule of holds.py. A piece is {amounts, {field, number, field, number, ...}}.

local function load(field)
  local packed = redis.call('HGET', COUNTERS, field)
  return packed and cmsgpack.unpack(packed) or nil
end

-- Writes counters that are there already.
local function write(field, counters)
  redis.call('HSET', COUNTERS, field, cmsgpack.pack(counters))
end

local function save(field, counters)
  if redis.call('HSET', COUNTERS, field, cmsgpack.pack(counters)) == 1 and counters[3] ~= '' then
    redis.call('HINCRBY', CROWDS, counters[3], 1)
  end
  redis.call('ZADD', ENDS, text(now + IDLE_US), 't' .. field)
end

local function drop(field, counters)
  redis.call('HDEL', COUNTERS, field)
  redis.call('ZREM', ENDS, 't' .. field)
  if counters[3] ~= '' and redis.call('HINCRBY', CROWDS, counters[3], -1) == 0 then
    redis.call('HDEL', CROWDS, counters[3])
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

local function above(one, other)
  local left = {}
  for place = 1, #one do
    left[place] = math.max(0, one[place] - other[place])
  end
  return left
end

local function held_by(hold)
  local sum = {0, 0, 0, 0, 0}
  for _, piece in ipairs(hold[1]) do
    for place, amount in ipairs(piece[1]) do
      sum[place] = sum[place] + amount
    end
  end
  return sum
end

local function remember(reservation, how)
  redis.call('ZADD', ENDS, text(now + REMEMBER_US), how .. reservation)
end

local function owe_all(hold, amounts)
  if math.max(unpack(amounts)) == 0 then
    return
  end
  local charged = hold[1][1][2]
  for place = 1, #charged, 2 do
    local counters = load(charged[place])
    if counters then
      leak_as_known(counters)
      counters_owe(counters, amounts)
      write(charged[place], counters)
    end
  end
end

-- End a hold that used this much of what it held.
local function settle(reservation, hold, used, how)
  local held = held_by(hold)
  local left = above(held, used)
  for piece = #hold[1], 1, -1 do
    local amounts, charged = hold[1][piece][1], hold[1][piece][2]
    local back = {}
    for place, amount in ipairs(amounts) do
      back[place] = math.min(left[place], amount)
    end
    left = above(left, back)
    for place = 1, #charged, 2 do
      local counters = load(charged[place])
      if counters then
        leak_as_known(counters)
        counters_give_back(counters, charged[place + 1], back)
        counters[2] = math.max(0, counters[2] - amounts[1])
        write(charged[place], counters)
      end
    end
  end
  owe_all(hold, above(used, held))
  redis.call('HDEL', HOLDS, reservation)
  redis.call('ZREM', ENDS, 'h' .. reservation)
  remember(reservation, how)
end

local NOTHING = {0, 0, 0, 0, 0}

local function append(entry)
  redis.call('XADD', OUTBOX, '*', 'b', entry, 't', text(now), 'r', '0')
  appended = appended + 1
end

local function end_hold(reservation, packed)
  local hold = cmsgpack.unpack(packed)
  if hold[3] > 0 then
    local held = held_by(hold)
    settle(reservation, hold, held, 'e')
    redis.call('XADD', OUTBOX, '*', 'b', hold[4], 't', text(hold[3]), 'r', text(hold[2]), 'o', text(held[4]), 'c', text(held[5]))
    appended = appended + 1
  else
    settle(reservation, hold, NOTHING, 'l')
  end
  redis.call('HSET', ENDED, reservation, packed)
end

local function forget_idle(field, member)
  local counters = load(field)
  if not counters then
    return
  end
  leak_as_known(counters)
  if says_nothing(counters) then
    drop(field, counters)
  else
    redis.call('ZADD', ENDS, text(now + IDLE_US), member)
  end
end

-- Look at up to `most` things whose time has come.
local function sweep(most)
  local due = redis.call('ZRANGEBYSCORE', ENDS, '-inf', text(now), 'LIMIT', 0, most)
  for _, member in ipairs(due) do
    local kind, name = string.sub(member, 1, 1), string.sub(member, 2)
    redis.call('ZREM', ENDS, member)
    if kind == 'h' then
      local packed = redis.call('HGET', HOLDS, name)
      if packed then
        end_hold(name, packed)
      end
    elseif kind == 'n' then
      redis.call('HDEL', NONCES, name)
    elseif kind == 't' then
      forget_idle(name, member)
    elseif kind == 'o' then
      redis.call('HDEL', OUTPUTS, name)
    else
      redis.call('HDEL', ENDED, name)
    end
  end
  return #due
end

