-- What each subject's limits have given. Writes nothing.
-- ARGV    1-7 terms, 8 demand (JSON)
-- RESULT  {now, 0, for each subject {measure, used, free in microseconds, warned percent, measure, ...}}
local function warned_percent(counters, place)
  local counter = counters[place]
  if place >= FIRST_BUDGET then
    return PERCENT[counter[4]] or 0
  end
  return math.floor(counter[5] / 4) == math.floor(now / HOUR_US) and PERCENT[counter[5] % 4] or 0
end

local demand = cjson.decode(ARGV[8])
local answer = {now, 0}
for _, subject in ipairs(demand[3]) do
  local _, counters = find(subject, demand)
  local used = {}
  local function add(measure, amount, free, warned)
    for _, part in ipairs({measure, amount, free, warned}) do
      used[#used + 1] = part
    end
  end
  for place = FIRST_RATE, LAST do
    local counter = counters[place]
    if counter ~= 0 and place < FIRST_BUDGET then
      local taken = level(counter)
      add(place - FIRST_RATE, divided_up(taken, UNITS), divided_up(taken, counter[2]), warned_percent(counters, place))
    elseif counter ~= 0 then
      add(place - FIRST_RATE, counter[2], math.max(0, counter[1] - now), warned_percent(counters, place))
    end
  end
  add(CONCURRENT - 1, counters[2], 0, 0)
  answer[#answer + 1] = used
end
return answer
