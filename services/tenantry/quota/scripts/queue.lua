-- The rules of a pool's queue, which the store puts before each of its scripts, behind queue_state.lua. They are those of vtc.py,
-- aimd.py and expected_wait.py, line by line.
--
-- The other rules are made by a function: what is made in one refers to the script's variables at less cost than in the script.
local function rules()

-- aimd.py.

function vtc.room()
  return ADAPTIVE and pool.limit > 0 and math.min(pool.limit, CAPACITY) or CAPACITY
end

function vtc.held_us()
  return ADAPTIVE and math.max(0, pool.held - now) or 0
end

function vtc.throttled(granted, retry_us)
  if granted >= pool.cut then
    pool.limit = math.max(1, (divided(vtc.room(), 2)))
    pool.answered = 0
    pool.cut = now
  end
  pool.held = math.max(pool.held, now + math.min(retry_us, MOST_RETRY_AFTER_US))
end

function vtc.answered(size)
  if pool.limit == 0 then
    return
  end
  pool.answered = pool.answered + size
  if pool.answered >= pool.limit then
    pool.answered = 0
    pool.limit = pool.limit + math.max(1, (divided(CAPACITY, STEPS)))
    if pool.limit >= CAPACITY then
      pool.limit = 0
    end
  end
end

-- expected_wait.py.

function vtc.mean(before, value)
  return math.max(1, before + (divided(value - before, pool.calls)))
end

function vtc.learn(took_us, size, charge)
  local ticks = math.min(math.max(1, (divided(took_us, TICK_US))), LONGEST_TICKS)
  pool.calls = math.min(pool.calls + 1, MEMORY)
  pool.hold = vtc.mean(pool.hold, size * ticks)
  pool.ticks = vtc.mean(pool.ticks, ticks)
  pool.charge = vtc.mean(pool.charge, math.max(1, charge))
end

function vtc.expected_wait_us(at)
  if pool.hold == 0 then
    return 0
  end
  local turns = at.place * at.weights * at.neighbours / (THOUSAND * at.weight)
  local gap = at.organisation_gap + at.tenant_gap * at.neighbours
  turns = turns + gap * at.weights / THOUSAND / pool.charge
  local ticks = math.min(turns, pool.waiting) * pool.hold / vtc.room()
  local own = math.max(0, at.running + at.place - at.most) * pool.ticks / at.most
  return vtc.held_us() + math.floor(math.min(math.max(ticks, own) * TICK_US, MOST_COUNTER))
end

-- vtc.py: where an organisation or tenant stands.

function vtc.in_order(name, tenant)
  return counted(tenant.org) .. wide(tenant.counter) .. name
end

function vtc.in_line(ticket)
  return counted(ticket.tenant) .. MOST_PRIORITY - ticket.priority .. wide(ticket.number) .. ticket.name
end

function vtc.of_prefix(command, key, prefix)
  local from, to = '[' .. prefix, '(' .. prefix .. ':' -- the next character is a digit, and : comes after 9
  if command == 'ZREVRANGEBYLEX' then
    from, to = to, from
  end
  return redis.call(command, key, from, to, 'LIMIT', 0, 1)[1]
end

function vtc.least_organisation()
  local found = redis.call('ZRANGE', ORGS, 0, 0, 'WITHSCORES')
  return found[1], tonumber(found[2])
end

function vtc.least_tenant(org)
  local prefix = counted(org)
  local found = vtc.of_prefix('ZRANGEBYLEX', TENANTS, prefix)
  return string.sub(found, #prefix + 17), tonumber(string.sub(found, #prefix + 1, #prefix + 16))
end

function vtc.least_organisation_counter()
  local name, counter = vtc.least_organisation()
  if name then
    return counter
  end
  return pool.last_org ~= '' and vtc.organisation_of(pool.last_org).counter or pool.last
end

function vtc.least_counter(org, organisation)
  if organisation.ready > 0 then
    local _, counter = vtc.least_tenant(org)
    return counter
  end
  return organisation.last_tenant ~= '' and vtc.tenant_of(organisation.last_tenant).counter or organisation.last
end

function vtc.weight_of(organisation)
  return organisation.ready > 0 and (divided(THOUSAND * organisation.weights, organisation.ready)) or 0
end

-- The last call of the longest weighted backlog.
function vtc.longest()
  local org = redis.call('ZREVRANGE', OWING, 0, 0)[1]
  local prefix = counted(org)
  local tenant = string.sub(vtc.of_prefix('ZREVRANGEBYLEX', BACKLOGS, prefix), #prefix + 17)
  prefix = counted(tenant)
  return string.sub(vtc.of_prefix('ZREVRANGEBYLEX', WAITING, prefix), #prefix + 18)
end

-- vtc.py: changes.

-- Before they enter the order: idling earned nothing.
function vtc.lift(tenant, organisation)
  tenant.counter = math.max(tenant.counter, vtc.least_counter(tenant.org, organisation))
  if organisation.ready == 0 then
    organisation.counter = math.max(organisation.counter, vtc.least_organisation_counter())
  end
end

function vtc.place(name)
  local tenant = vtc.tenant_of(name)
  local org = tenant.org
  local organisation = vtc.organisation_of(org)
  local ready = tenant.waiting > 0 and tenant.running < tenant.most
  if ready == tenant.ready then
    return
  end
  pool.weights = pool.weights - vtc.weight_of(organisation)
  if ready then
    vtc.lift(tenant, organisation)
    if organisation.ready == 0 then
      redis.call('ZADD', ORGS, organisation.counter, org)
    end
    redis.call('ZADD', TENANTS, 0, vtc.in_order(name, tenant))
    organisation.ready = organisation.ready + 1
    organisation.weights = organisation.weights + tenant.weight
  else
    redis.call('ZREM', TENANTS, vtc.in_order(name, tenant))
    organisation.ready = organisation.ready - 1
    organisation.weights = organisation.weights - tenant.weight
    organisation.last_tenant = name
    if organisation.ready == 0 then
      redis.call('ZREM', ORGS, org)
      pool.last_org = org
    end
  end
  tenant.ready = ready
  pool.weights = pool.weights + vtc.weight_of(organisation)
end

function vtc.charge(ticket, amount)
  local name, tenant = ticket.tenant, vtc.tenant_of(ticket.tenant)
  local organisation = vtc.organisation_of(tenant.org)
  local step
  step, tenant.rest = divided(amount + tenant.rest, tenant.weight)
  if step == 0 then
    return
  end
  if tenant.ready then
    redis.call('ZREM', TENANTS, vtc.in_order(name, tenant))
  end
  tenant.counter = math.min(math.max(0, tenant.counter + step), MOST_COUNTER)
  organisation.counter = math.min(math.max(0, organisation.counter + step), MOST_COUNTER)
  if tenant.ready then
    redis.call('ZADD', TENANTS, 0, vtc.in_order(name, tenant))
  end
  if organisation.ready > 0 then
    redis.call('ZADD', ORGS, organisation.counter, tenant.org)
  end
end

function vtc.count(ticket, output)
  vtc.charge(ticket, (output - ticket.counted) * OUTPUT_WEIGHT)
  ticket.counted = output
end

function vtc.cost(ticket)
  return math.max(1, ticket.input) * INPUT_WEIGHT + ticket.counted * OUTPUT_WEIGHT
end

function vtc.owe(name, tenant, amount)
  local organisation, prefix = vtc.organisation_of(tenant.org), counted(tenant.org)
  if tenant.backlog > 0 then
    redis.call('ZREM', BACKLOGS, prefix .. wide(tenant.backlog) .. name)
  end
  tenant.backlog = tenant.backlog + amount
  organisation.backlog = organisation.backlog + amount
  if tenant.backlog > 0 then
    redis.call('ZADD', BACKLOGS, 0, prefix .. wide(tenant.backlog) .. name)
  end
  if organisation.backlog > 0 then
    redis.call('ZADD', OWING, organisation.backlog, tenant.org)
  else
    redis.call('ZREM', OWING, tenant.org)
  end
end

function vtc.keep(ticket)
  local ends = now + LEASE_US
  if ticket.granted == 0 and ticket.deadline > 0 then
    ends = math.min(ends, ticket.deadline)
  end
  redis.call('ZADD', ENDS, ends, 'k' .. ticket.name)
  ticket.ends = ends
  return ends
end

-- The call's tenant and organisation, as the call says they are now.
function vtc.account(org, name, weight, most)
  local tenant = vtc.tenant_of(name)
  if not tenant then
    if not vtc.organisation_of(org) then
      organisations[org] = vtc.as_organisation(0, 0, 0, 0, 0, 0, '')
    end
    organisations[org].members = organisations[org].members + 1
    tenant = vtc.as_tenant(org, weight, most, now, 0, 0, 0, 0, 0, false)
    tenants[name] = tenant
    redis.call('ZADD', ENDS, now + IDLE_US, 't' .. name)
  else
    local organisation = vtc.organisation_of(tenant.org)
    if tenant.ready then
      pool.weights = pool.weights - vtc.weight_of(organisation)
      organisation.weights = organisation.weights + weight - tenant.weight
      pool.weights = pool.weights + vtc.weight_of(organisation)
    end
    tenant.weight, tenant.most = weight, most
  end
  tenant.seen = now
  vtc.place(name)
end

function vtc.forget(ticket)
  redis.call('HDEL', TICKETS, ticket.name)
  tickets[ticket.name] = false
  redis.call('ZREM', ENDS, 'k' .. ticket.name)
  vtc.tenant_of(ticket.tenant).seen = now
  vtc.place(ticket.tenant)
end

-- Take a waiting call out of the queue.
function vtc.take_out(ticket)
  local tenant = vtc.tenant_of(ticket.tenant)
  redis.call('ZREM', WAITING, vtc.in_line(ticket))
  tenant.waiting = tenant.waiting - 1
  pool.waiting = pool.waiting - 1
  vtc.owe(ticket.tenant, tenant, -ticket.backlog)
  vtc.forget(ticket)
end

function vtc.end_call(ticket)
  if ticket.granted == 0 then
    vtc.take_out(ticket)
    return
  end
  local tenant = vtc.tenant_of(ticket.tenant)
  pool.used = pool.used - ticket.size
  tenant.running = tenant.running - 1
  vtc.forget(ticket)
end

function vtc.start(ticket)
  local tenant = vtc.tenant_of(ticket.tenant)
  tenant.running = tenant.running + 1
  pool.used = pool.used + ticket.size
  ticket.granted = now
  vtc.save_ticket(ticket)
  vtc.keep(ticket)
  vtc.place(ticket.tenant)
  vtc.charge(ticket, vtc.cost(ticket))
end

function vtc.grant(ticket, in_line)
  local tenant = vtc.tenant_of(ticket.tenant)
  redis.call('ZREM', WAITING, in_line)
  tenant.waiting = tenant.waiting - 1
  pool.waiting = pool.waiting - 1
  vtc.owe(ticket.tenant, tenant, -ticket.backlog)
  vtc.start(ticket)
end

-- One larger than the room runs when nothing else does.
function vtc.fits(size)
  return vtc.held_us() == 0 and (pool.used == 0 or pool.used + size <= vtc.room())
end

-- Grant the next calls as long as they fit.
function vtc.serve(own)
  for _ = 1, BATCH do
    if pool.waiting == 0 or not vtc.fits(1) then
      return -- no call is smaller: there is no need to look at who is next
    end
    local org = vtc.least_organisation()
    if not org then
      return
    end
    local prefix = counted(vtc.least_tenant(org))
    local in_line = vtc.of_prefix('ZRANGEBYLEX', WAITING, prefix)
    local ticket = vtc.ticket_of(string.sub(in_line, #prefix + 18))
    if not vtc.fits(ticket.size) then
      return
    end
    vtc.grant(ticket, in_line)
    if ticket.name ~= own then
      vtc.tell(ticket.name, 1)
    end
  end
end

function vtc.forget_idle(name)
  local tenant = vtc.tenant_of(name)
  local idle_at = (tenant.waiting > 0 or tenant.running > 0) and now + IDLE_US or tenant.seen + IDLE_US
  if idle_at > now then
    redis.call('ZADD', ENDS, idle_at, 't' .. name)
    return
  end
  local org, organisation = tenant.org, vtc.organisation_of(tenant.org)
  redis.call('HDEL', ACCOUNTS, 't' .. name)
  tenants[name] = false
  organisation.members = organisation.members - 1
  if organisation.last_tenant == name then
    organisation.last_tenant, organisation.last = '', tenant.counter
  end
  if organisation.members == 0 then
    redis.call('HDEL', ACCOUNTS, 'o' .. org)
    organisations[org] = false
    if pool.last_org == org then
      pool.last_org, pool.last = '', organisation.counter
    end
  end
end

-- Look at up to `most` things whose time has come, then grant what fits.
function vtc.sweep(most)
  local due = redis.call('ZRANGEBYSCORE', ENDS, '-inf', now, 'LIMIT', 0, most)
  for _, member in ipairs(due) do
    local kind, name = string.sub(member, 1, 1), string.sub(member, 2)
    redis.call('ZREM', ENDS, member)
    if kind == 'k' then
      vtc.end_call(vtc.ticket_of(name))
    elseif kind == 't' then
      vtc.forget_idle(name)
    end
  end
  vtc.serve()
  return #due
end

function vtc.wait_us(tenant, place)
  local organisation = vtc.organisation_of(tenant.org)
  local parked = not tenant.ready
  return vtc.expected_wait_us({
    place = place,
    weight = tenant.weight,
    running = tenant.running,
    most = tenant.most,
    neighbours = organisation.ready + (parked and 1 or 0),
    weights = pool.weights + (parked and tenant.weight * THOUSAND or 0),
    organisation_gap = math.max(0, organisation.counter - vtc.least_organisation_counter()),
    -- The only one in its organisation's order is the least: there is no need to look.
    tenant_gap = not parked and organisation.ready == 1 and 0
      or math.max(0, tenant.counter - vtc.least_counter(tenant.org, organisation)),
  })
end

-- Where the call stands: granted (1) until when, waiting (2) at which place and for how long, dropped (3) or gone (4).
function vtc.known(name, tenant)
  local ticket = vtc.ticket_of(name)
  return ticket and ticket.tenant == tenant and ticket or nil
end

function vtc.look(name, of)
  local ticket = vtc.known(name, of)
  if not ticket then
    return {redis.call('ZSCORE', ENDS, 'x' .. name) and 3 or 4, 0, 0}
  end
  if ticket.granted > 0 then
    return {1, ticket.ends or tonumber(redis.call('ZSCORE', ENDS, 'k' .. name)), 0}
  end
  local account, place = vtc.tenant_of(of), 1
  if account.waiting > 1 then
    place = redis.call('ZLEXCOUNT', WAITING, '[' .. counted(of), '(' .. vtc.in_line(ticket)) + 1
  end
  return {2, place, vtc.wait_us(account, place)}
end

end
rules()
