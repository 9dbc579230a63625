-- The rule of budgets.py. A budget is {end, used, first number, warnings given}.
local MOST_USED = 9000000000000000

local function period(starts)
  local place = 1
  while place < #starts - 1 and now >= starts[place + 1] do
    place = place + 1
  end
  return starts[place], starts[place + 1]
end

local function budget_now(budget, starts, number)
  local start_us, end_us = period(starts)
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

local function budget_give_back(budget, number, amount)
  if number >= budget[3] then
    budget[2] = math.max(0, budget[2] - amount)
  end
end

local function budget_owe(budget, number, amount)
  if amount > 0 and now >= budget[1] then
    budget[1], budget[2], budget[3], budget[4] = now + 1, math.min(amount, MOST_USED), number, 0
  elseif amount > 0 then
    budget_take(budget, amount)
  end
end

