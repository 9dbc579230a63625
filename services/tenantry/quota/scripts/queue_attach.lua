-- Go on with a running call. One that these books have lost is counted again, whatever room there is: it is of another epoch,
-- which begins with another history of the data (outbox_redis.py): after a start or a failover of its server.
-- ARGV    1-11 as in queue_state.lua, 12 ticket, 13 organisation, 14 tenant, 15 weight, 16 most running, 17 priority, 18 input
--         tokens, 19 most output tokens, 20 output tokens so far, 21 epoch of the lease, 22 its end
-- RESULT  {now, epoch, news, 1, end} | {now, epoch, news, 4}: gone
local name, tenant, input, output = ARGV[12], ARGV[14], tonumber(ARGV[18]), tonumber(ARGV[19])
local history = vtc.history()
if history ~= pool.history then
  pool.history, pool.epoch = history, FRESH
end

local function attach()
  local ticket = vtc.known(name, tenant)
  if not ticket and (ARGV[21] == pool.epoch or tonumber(ARGV[22]) <= now or vtc.ticket_of(name)) then
    return {4}
  end
  if ticket and ticket.granted == 0 then
    return {4}
  end
  if not ticket then
    vtc.account(ARGV[13], tenant, tonumber(ARGV[15]), tonumber(ARGV[16]))
    local size = IN_SEATS and 1 or math.max(1, input + output)
    ticket = vtc.as_ticket(name, tenant, tonumber(ARGV[17]), input, 0, size, 0, 0, now, tonumber(ARGV[20]))
    vtc.save_ticket(ticket)
    vtc.tenant_of(tenant).running = vtc.tenant_of(tenant).running + 1
    pool.used = pool.used + size
    vtc.place(tenant)
  end
  return {1, vtc.keep(ticket)}
end

local answer = attach()
vtc.finish()
return {now, pool.epoch, news, unpack(answer)}
