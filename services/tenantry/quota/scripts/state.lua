-- How what is counted stands in a bucket, and what both taking and ending need of the rules of gcra.py, budgets.py and holds.py.
--
-- A bucket is {at, rate, closed (0 or 1), {number, units, number, units, ...}, last warning}, oldest charge first. A budget is {end, used,
-- first number, warnings given}. Counters are {number, running, crowd or '', then in the order of MEASURES four buckets and four
-- budgets}, each 0 where nothing is limited. Amounts are {requests, tokens, input, output, cost}; a piece of a hold is {amounts, {field,
-- number, field, number, ...}}.
local UNITS, MOST_UNITS, MOST_AMOUNT, MOST_CHARGES = 60000000, 9000000000000000, 100000000, 128
local MOST_USED = 9000000000000000
local FIRST_RATE, FIRST_BUDGET, LAST = 4, 8, 11
-- Which of the amounts each counter counts.
local COUNTED = {[4] = 1, [5] = 2, [6] = 3, [7] = 4, [8] = 2, [9] = 2, [10] = 5, [11] = 5}

local function level(bucket)
  local sum = 0
  for place = 2, #bucket[4], 2 do
    sum = sum + bucket[4][place]
  end
  return sum
end

local function leak(bucket, rate)
  local leaked = math.min(bucket[2], rate) * math.max(0, now - bucket[1])
  local charges = bucket[4]
  while #charges > 0 and leaked > 0 do
    local units = charges[#charges]
    if units > leaked then
      charges[#charges] = units - leaked
      break
    end
    leaked = leaked - units
    charges[#charges] = nil
    charges[#charges] = nil
    bucket[3] = 0
  end
  bucket[1] = math.max(now, bucket[1])
  bucket[2] = rate
end

local function join(charges, place)
  charges[place + 2] = charges[place] + charges[place + 2]
  table.remove(charges, place - 1)
  table.remove(charges, place - 1)
end

local function push(bucket, number, units, closed)
  local charges = bucket[4]
  charges[#charges + 1] = number
  charges[#charges + 1] = units
  if bucket[3] == 1 and #charges > 2 then
    join(charges, #charges - 2)
  end
  if #charges > 2 * MOST_CHARGES then
    join(charges, 2)
  end
  bucket[3] = closed
end

local function budget_take(budget, amount)
  budget[2] = math.min(MOST_USED, budget[2] + amount)
end

local function load(field)
  local packed = redis.call('HGET', COUNTERS, field)
  return packed and cmsgpack.unpack(packed) or nil
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
