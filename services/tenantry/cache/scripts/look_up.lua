-- Find the entry, or lead, or take a place among those who wait; and count which.
-- ARGV    5 handle, 6 least epoch, 7 1 to refuse the entry
-- RESULT  {'entry', MAC, epoch, answer} | {'lead', handle, end} | {'wait', handle} | {'full'}
local handle = ARGV[5]
local current = generation()
local found = entry(current, tonumber(ARGV[6]), ARGV[7] == '1')
if found then
  count('hits')
  return found
end
if not leader(current) then
  count('misses')
  return {'lead', handle, fly(current, handle)}
end
if not keep(handle) then
  return {'full'}
end
count('waits')
return {'wait', handle}
