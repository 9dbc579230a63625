-- How much of each limit is free now. Writes nothing.
-- ARGV    1 counters field, 2 requests a minute, 3 request burst, 4 tokens a minute, 5 token burst
-- RESULT  {now, 0, requests available, tokens available, running}
local counters = load(ARGV[1])
if not counters then
  return {now, 0, tonumber(ARGV[3]), tonumber(ARGV[5]), 0}
end
leak(counters[3], tonumber(ARGV[2]))
leak(counters[4], tonumber(ARGV[4]))
return {now, 0, available(counters[3], tonumber(ARGV[3])), available(counters[4], tonumber(ARGV[5])), counters[2]}
