-- The rule of expected_output.py. Outputs are {samples, largest, count, largest, count, ...}, smallest class first.
local LEAST_SAMPLES, MOST_SAMPLES = 20, 400

local function class_of(tokens)
  local largest = 1
  while largest < tokens do
    largest = largest + math.max(1, math.floor(largest / 5))
  end
  return largest
end

local function add_output(outputs, tokens)
  if outputs[1] >= MOST_SAMPLES then
    local halved = {0}
    for place = 2, #outputs, 2 do
      local count = math.floor(outputs[place + 1] / 2)
      if count > 0 then
        halved[1] = halved[1] + count
        halved[#halved + 1] = outputs[place]
        halved[#halved + 1] = count
      end
    end
    outputs = halved
  end
  local largest, place = class_of(tokens), 2
  while place < #outputs and outputs[place] < largest do
    place = place + 2
  end
  if outputs[place] ~= largest then
    table.insert(outputs, place, 0)
    table.insert(outputs, place, largest)
  end
  outputs[place + 1] = outputs[place + 1] + 1
  outputs[1] = outputs[1] + 1
  return outputs
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

