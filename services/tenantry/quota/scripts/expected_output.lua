-- The rule of expected_output.py; what settling needs of it is in endings.lua. Outputs are {samples, largest, count, largest, count,
-- ...}, smallest class first.
local LEAST_SAMPLES, MOST_SAMPLES = 20, 400

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
