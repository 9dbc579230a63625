-- For those of one process who wait: find the entry, or give the first of them the lead, or keep their places.
-- A handle that leads already is told so again: the answer that said so may have been lost.
-- ARGV    5 1 to refuse the entry, 6... handles, the longest waiting first
-- RESULT  {'entry', MAC, epoch, answer} | {'lead', handle, end} | {'wait', first handle}
local current = generation()
local found = entry(current, 0, ARGV[5] == '1')
if found then
  return found
end
local leading = leader(current)
if not leading then
  return {'lead', ARGV[6], fly(current, ARGV[6])}
end
for place = 6, #ARGV do
  if ARGV[place] == leading then
    return {'lead', leading, now + redis.call('PTTL', FLIGHT)}
  end
  keep(ARGV[place])
end
return {'wait', ARGV[6]}
