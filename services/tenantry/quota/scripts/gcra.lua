-- The rule of gcra.py; what settling needs of it is in endings.lua. A bucket is {at, rate, closed (0 or 1), {number, units, number, units, ...}}, oldest charge first; what
-- follows in it is for counters.lua.
local UNITS, MOST_UNITS, MOST_AMOUNT, MOST_CHARGES = 60000000, 9000000000000000, 100000000, 128


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

local function take(bucket, number, amount)
  if amount > 0 then
    push(bucket, number, amount * UNITS, 0)
  end
end
