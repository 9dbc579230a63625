-- Charge the output of many running calls since the last time, and move the ends of their leases and of waiting calls' places.
-- ARGV    1-11 as in queue_state.lua, then for each call three: ticket, tenant, output tokens so far
-- RESULT  {now, epoch, news, the end of each, 0 for one that is gone, ...}
local ends = {}
for at = 12, #ARGV, 3 do
  local ticket = vtc.known(ARGV[at], ARGV[at + 1])
  if ticket and ticket.granted > 0 then
    vtc.count(ticket, math.max(ticket.counted, tonumber(ARGV[at + 2])))
    vtc.save_ticket(ticket)
  end
  ends[#ends + 1] = ticket and vtc.keep(ticket) or 0
end
vtc.finish()
return {now, pool.epoch, news, unpack(ends)}
