-- How holds end, by the rules of gcra.py, budgets.py, expected_output.py, counters.py and holds.py: what reserving does not need.
-- It is made when a call needs it, since making a function costs a fifth of a microsecond, and most calls only reserve.
local function made_endings()
  local function owe(bucket, number, amount)
    local units = math.min(math.min(amount, MOST_AMOUNT) * UNITS, MOST_UNITS - level(bucket))
    if units > 0 then
      push(bucket, number, units, 1)
    end
  end

  local function give_back(bucket, number, amount)
    local charges, left = bucket[4], amount * UNITS
    local place = #charges
    while place > 0 and charges[place - 1] > number do
      place = place - 2
    end
    while place > 0 and left > 0 do
      local units = charges[place]
      if units > left then
        charges[place] = units - left
        break
      end
      left = left - units
      if place == #charges then
        bucket[3] = 0
      end
      table.remove(charges, place - 1)
      table.remove(charges, place - 1)
      place = place - 2
    end
  end

  local function close(bucket, number)
    local charges = bucket[4]
    for place = 2, #charges, 2 do
      if charges[place - 1] == number then
        if place == #charges then
          bucket[3] = 1
        else
          join(charges, place)
        end
        return
      end
    end
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

  local function halved(outputs)
    local left = {0}
    for place = 2, #outputs, 2 do
      local count = math.floor(outputs[place + 1] / 2)
      if count > 0 then
        left[1] = left[1] + count
        left[#left + 1] = outputs[place]
        left[#left + 1] = count
      end
    end
    return left
  end

  local function counters_give_back(counters, number, amounts)
    for place = FIRST_RATE, LAST do
      if counters[place] == 0 then
      elseif place < FIRST_BUDGET then
        give_back(counters[place], number, amounts[COUNTED[place]])
        close(counters[place], number)
      else
        budget_give_back(counters[place], number, amounts[COUNTED[place]])
      end
    end
  end

  local function counters_owe(counters, amounts)
    local number = counters[1] + 1
    counters[1] = number
    for place = FIRST_RATE, LAST do
      if counters[place] == 0 then
      elseif place < FIRST_BUDGET then
        owe(counters[place], number, amounts[COUNTED[place]])
      else
        budget_owe(counters[place], number, amounts[COUNTED[place]])
      end
    end
  end

  local function leak_as_known(counters)
    for place = FIRST_RATE, FIRST_BUDGET - 1 do
      if counters[place] ~= 0 then
        leak(counters[place], counters[place][2])
      end
    end
  end

  local function says_nothing(counters)
    for place = FIRST_RATE, LAST do
      local counter = counters[place]
      if counter ~= 0 then
        if place < FIRST_BUDGET and #counter[4] > 0 or place >= FIRST_BUDGET and counter[2] > 0 and counter[1] > now then
          return false
        end
      end
    end
    return counters[2] == 0
  end

  -- Writes counters that are there already.
  local function write(field, counters)
    redis.call('HSET', COUNTERS, field, cmsgpack.pack(counters))
  end

  local function drop(field, counters)
    redis.call('HDEL', COUNTERS, field)
    redis.call('ZREM', ENDS, 't' .. field)
    if counters[3] ~= '' and redis.call('HINCRBY', CROWDS, counters[3], -1) == 0 then
      redis.call('HDEL', CROWDS, counters[3])
    end
  end

  local function above(one, other)
    local left = {}
    for place = 1, #one do
      left[place] = math.max(0, one[place] - other[place])
    end
    return left
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
      local back = left
      if piece > 1 then
        back = {}
        for place, amount in ipairs(amounts) do
          back[place] = math.min(left[place], amount)
        end
        left = above(left, back)
      end
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
    if used[2] > held[2] or used[3] > held[3] or used[4] > held[4] or used[5] > held[5] then
      owe_all(hold, above(used, held))
    end
    redis.call('HDEL', HOLDS, reservation)
    redis.call('ZREM', ENDS, 'h' .. reservation)
    remember(reservation, how)
  end

  local function end_hold(reservation)
    local packed = redis.call('HGET', HOLDS, reservation)
    if not packed then
      return
    end
    local hold = cmsgpack.unpack(packed)
    if hold[3] > 0 then
      local held = held_by(hold)
      settle(reservation, hold, held, 'e')
      redis.call('XADD', OUTBOX, '*', 'b', hold[4], 't', text(hold[3]), 'r', text(hold[2]), 'o', text(held[4]), 'c', text(held[5]))
      appended = appended + 1
    else
      settle(reservation, hold, {0, 0, 0, 0, 0}, 'l')
    end
    redis.call('HSET', ENDED, reservation, packed)
  end

  local function forget_idle(field)
    local counters = load(field)
    if not counters then
      return
    end
    leak_as_known(counters)
    if says_nothing(counters) then
      drop(field, counters)
    else
      redis.call('ZADD', ENDS, text(now + IDLE_US), 't' .. field)
    end
  end

  local function forget_outputs(field)
    local packed = redis.call('HGET', OUTPUTS, field)
    local outputs = packed and halved(cmsgpack.unpack(packed)) or {0}
    if outputs[1] > 0 then
      redis.call('HSET', OUTPUTS, field, cmsgpack.pack(outputs))
      redis.call('ZADD', ENDS, text(now + OUTPUTS_US), 'o' .. field)
    else
      redis.call('HDEL', OUTPUTS, field)
    end
  end

  return {settle = settle, owe_all = owe_all, above = above, drop = drop, remember = remember, halved = halved, h = end_hold,
    t = forget_idle, o = forget_outputs}
end

-- Look at up to `most` things whose time has come.
local function sweep(most)
  local due = redis.call('ZRANGEBYSCORE', ENDS, '-inf', text(now), 'LIMIT', 0, most)
  local endings = nil
  for _, member in ipairs(due) do
    local kind, name = string.sub(member, 1, 1), string.sub(member, 2)
    redis.call('ZREM', ENDS, member)
    if kind == 'n' then
      redis.call('HDEL', NONCES, name)
    elseif kind == 'h' or kind == 't' or kind == 'o' then
      endings = endings or made_endings()
      endings[kind](name)
    else
      redis.call('HDEL', ENDED, name)
    end
  end
  return #due
end
