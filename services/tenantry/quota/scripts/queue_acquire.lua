-- Take a place, and with it the capacity if it is the call's turn. Refused while memory is full.
-- ARGV    1-11 as in queue_state.lua, 12 ticket, 13 organisation, 14 tenant, 15 weight, 16 most running, 17 priority, 18 input
--         tokens, 19 most output tokens, 20 longest wait in microseconds, or 0
-- RESULT  {now, epoch, news, 1, end} | {…, 2, place, wait} | {…, 3, wait}: dropped | {…, 4}: gone | {…, 5, wait}: late |
--         {…, 6}: larger than the pool
local name, org, tenant, priority = ARGV[12], ARGV[13], ARGV[14], tonumber(ARGV[17])
local weight, most, input, output = tonumber(ARGV[15]), tonumber(ARGV[16]), tonumber(ARGV[18]), tonumber(ARGV[19])
local within = tonumber(ARGV[20])
local deadline = within > 0 and now + within or 0

-- Enter the order, be granted and leave it, in one: nobody waits and there is room.
local function pass(ticket)
  local account = vtc.tenant_of(tenant)
  local organisation = vtc.organisation_of(account.org)
  vtc.lift(account, organisation)
  organisation.last_tenant, pool.last_org = tenant, account.org
  vtc.start(ticket)
end

local function enqueue(ticket)
  ticket.backlog = -divided(-(vtc.cost(ticket) + output * OUTPUT_WEIGHT), weight)
  vtc.save_ticket(ticket)
  vtc.keep(ticket)
  redis.call('ZADD', WAITING, 0, vtc.in_line(ticket))
  local account = vtc.tenant_of(tenant)
  account.waiting = account.waiting + 1
  pool.waiting = pool.waiting + 1
  vtc.owe(tenant, account, ticket.backlog)
  vtc.place(tenant)
end

local function acquire()
  vtc.sweep(BATCH)
  if vtc.ticket_of(name) or redis.call('ZSCORE', ENDS, 'x' .. name) then
    return vtc.look(name, tenant)
  end
  local size = IN_SEATS and 1 or math.max(1, input + output)
  if size > CAPACITY then
    return {6}
  end
  vtc.account(org, tenant, weight, most)
  pool.number = pool.number + 1
  local ticket = vtc.as_ticket(name, tenant, priority, input, deadline, size, pool.number, 0, 0, 0)
  if pool.waiting == 0 and vtc.tenant_of(tenant).running < most and vtc.fits(size) then
    pass(ticket)
  else
    enqueue(ticket)
    vtc.serve(name)
  end
  local answer = vtc.look(name, tenant)
  if answer[1] == 2 then
    if deadline > 0 and now + answer[3] > deadline then
      vtc.take_out(vtc.ticket_of(name))
      return {5, answer[3]}
    end
    if pool.waiting > MOST_WAITING then
      local victim = vtc.longest()
      vtc.take_out(vtc.ticket_of(victim))
      if victim == name then
        return {3, answer[3]}
      end
      redis.call('ZADD', ENDS, now + REMEMBER_US, 'x' .. victim)
      vtc.tell(victim, 0)
    end
  end
  return answer
end

local answer = acquire()
vtc.finish()
return {now, pool.epoch, news, unpack(answer)}
