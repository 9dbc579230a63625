-- How requests are checked and taken, by the rules of gcra.py, budgets.py, expected_output.py, counters.py and holds.py. Limits are
-- {rate, burst, rate, burst, rate, burst, rate, burst, budget, budget, budget, budget, concurrent}; outputs are {samples, largest, count,
-- largest, count, ...}, smallest class first.
local LEAST_SAMPLES = 20
local CONCURRENT = 9
local HOUR_US = 3600000000
local PERCENT = {50, 80, 100}

local function wait_us(bucket, amount, burst)
  if amount > burst then
    return -1
  end
  local over = level(bucket) - (burst - amount) * UNITS
  if over <= 0 then
    return 0
  end
  return divided_up(over, bucket[2])
end

local function take(bucket, number, amount)
  if amount > 0 then
    push(bucket, number, amount * UNITS, 0)
  end
end

local function budget_now(budget, starts, number)
  local place = 1
  while place < #starts - 1 and now >= starts[place + 1] do
    place = place + 1
  end
  local start_us, end_us = starts[place], starts[place + 1]
  if budget == 0 or start_us >= budget[1] then
    return {end_us, 0, number, 0}
  end
  budget[1] = math.max(budget[1], end_us)
  return budget
end

local function budget_wait_us(budget, amount, most)
  if amount > most then
    return -1
  end
  return amount > 0 and budget[2] + amount > most and math.max(1, budget[1] - now) or 0
end

local function expected_output(outputs, most)
  if outputs[1] < LEAST_SAMPLES then
    return most
  end
  local seen = 0
  for place = 2, #outputs, 2 do
    seen = seen + outputs[place + 1]
    if seen * 100 >= outputs[1] * 95 then
      return math.min(most, outputs[place])
    end
  end
  return most
end

-- The burst of a rate, the amount of a budget.
local function most_of(limits, place)
  return place < FIRST_BUDGET and limits[2 * place - 6] or limits[place + 1]
end

local function counters_at(counters, limits, calendar, crowd)
  counters = counters or {0, 0, crowd, 0, 0, 0, 0, 0, 0, 0, 0}
  for place = FIRST_RATE, FIRST_BUDGET - 1 do
    local rate = limits[2 * place - 7]
    if rate == 0 then
      counters[place] = 0
    elseif counters[place] == 0 then
      counters[place] = {now, rate, 0, {}, 0}
    else
      leak(counters[place], rate)
    end
  end
  for place = FIRST_BUDGET, LAST do
    if most_of(limits, place) == 0 then
      counters[place] = 0
    else
      counters[place] = budget_now(counters[place], calendar[1 + place % 2], counters[1] + 1)
    end
  end
  return counters
end

-- Adds {subject, measure, used, wait} for each limit that refuses; says which places are full until some time.
local function add_waits(waits, subject, counters, amounts, limits)
  local full = {}
  for place = FIRST_RATE, LAST do
    local counter, amount = counters[place], amounts[COUNTED[place]]
    if counter ~= 0 and amount > 0 then
      local is_rate = place < FIRST_BUDGET
      local wait = (is_rate and wait_us or budget_wait_us)(counter, amount, most_of(limits, place))
      if wait ~= 0 then
        local used = is_rate and divided_up(level(counter), UNITS) or counter[2]
        waits[#waits + 1] = {subject, place - FIRST_RATE, used, wait}
        full[place] = wait > 0
      end
    end
  end
  if amounts[1] > 0 and limits[13] > 0 and counters[2] >= limits[13] then
    waits[#waits + 1] = {subject, CONCURRENT - 1, counters[2], 0}
  end
  return full
end

local function counters_take(counters, amounts)
  local number = counters[1] + 1
  counters[1] = number
  for place = FIRST_RATE, LAST do
    if counters[place] == 0 then
    elseif place < FIRST_BUDGET then
      take(counters[place], number, amounts[COUNTED[place]])
    else
      budget_take(counters[place], amounts[COUNTED[place]])
    end
  end
  counters[2] = counters[2] + amounts[1]
end

local function steps_of(amount, most)
  if amount < most - amount then
    return 0
  end
  local rest = most % 10
  local tens, steps = (most - rest) / 10, 0
  for _, tenths in ipairs({5, 8, 10}) do
    if amount >= tens * tenths + math.ceil(rest * tenths / 10) then
      steps = steps + 1
    end
  end
  return steps
end

-- Adds {subject, measure, percent} for what was not said before.
local function add_warnings(warnings, subject, counters, limits, full)
  local before = #warnings
  for place = FIRST_RATE, LAST do
    local counter = counters[place]
    if counter ~= 0 then
      local is_rate, most = place < FIRST_BUDGET, most_of(limits, place)
      local steps = full[place] and 3 or steps_of(is_rate and level(counter) or counter[2], is_rate and most * UNITS or most)
      if steps > 0 then
        local warned, at = is_rate and math.floor(now / HOUR_US) * 4 + steps or steps, is_rate and 5 or 4
        if warned > counter[at] then
          counter[at] = warned
          warnings[#warnings + 1] = {subject, place - FIRST_RATE, PERCENT[steps]}
        end
      end
    end
  end
  return #warnings > before
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
