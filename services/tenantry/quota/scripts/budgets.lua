-- The rule of budgets.py; what settling needs of it is in endings.lua. A budget is {end, used, first number, warnings given}.
local MOST_USED = 9000000000000000

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

local function budget_take(budget, amount)
  budget[2] = math.min(MOST_USED, budget[2] + amount)
end
