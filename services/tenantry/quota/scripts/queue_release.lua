-- A call ended, or does not want its place any more; what fits then is granted.
-- ARGV    1-11 as in queue_state.lua, 12 ticket, 13 tenant, 14 output tokens, below 0 if nobody knows, 15 ok, throttled or
--         failed, 16 microseconds of Retry-After
-- RESULT  {now, epoch, news, 0 or 1 for known}
local ticket, output, how = vtc.known(ARGV[12], ARGV[13]), tonumber(ARGV[14]), ARGV[15]
if ticket then
  if ticket.granted > 0 then
    vtc.count(ticket, output >= 0 and output or ticket.counted)
    vtc.learn(now - ticket.granted, ticket.size, vtc.cost(ticket))
    if ADAPTIVE and how == 'throttled' then
      vtc.throttled(ticket.granted, tonumber(ARGV[16]))
      redis.call('ZADD', ENDS, pool.held, 'w')
    elseif ADAPTIVE and how == 'ok' then
      vtc.answered(ticket.size)
    end
  end
  vtc.end_call(ticket)
end
vtc.sweep(BATCH)
vtc.finish()
return {now, pool.epoch, news, ticket and 1 or 0}
