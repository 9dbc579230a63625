-- The rule of counters.py; what settling needs of it is in endings.lua. Counters are {number, running, crowd or '', then in the order
-- of MEASURES four rates and four budgets}, each 0 where nothing is limited. A rate is a bucket (gcra.lua) with its last warning behind. Limits are {rate, burst, rate, burst,
-- rate, burst, rate, burst, budget, budget, budget, budget, concurrent}; amounts are {requests, tokens, input, output, cost}.
local FIRST_RATE, FIRST_BUDGET, LAST = 4, 8, 11
local CONCURRENT = 9
local HOUR_US = 3600000000
local PERCENT = {50, 80, 100}
-- Which of the amounts each counter counts.
local COUNTED = {[4] = 1, [5] = 2, [6] = 3, [7] = 4, [8] = 2, [9] = 2, [10] = 5, [11] = 5}

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
        local warned, at = is_rate and divided(now, HOUR_US) * 4 + steps or steps, is_rate and 5 or 4
        if warned > counter[at] then
          counter[at] = warned
          warnings[#warnings + 1] = {subject, place - FIRST_RATE, PERCENT[steps]}
        end
      end
    end
  end
  return #warnings > before
end
