-- Where calls stand.
-- ARGV    1-11 as in queue_state.lua, then for each call two: ticket, tenant
-- RESULT  {now, epoch, news, {1, end} | {2, place, wait} | {3} dropped | {4} gone, for each call}
local found = {}
for at = 12, #ARGV, 2 do
  found[#found + 1] = vtc.look(ARGV[at], ARGV[at + 1])
end
return {now, pool.epoch, news, unpack(found)}
