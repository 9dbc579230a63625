-- How much of each limit is free now. Writes nothing.
-- ARGV    1-5 terms, 6 counters field, 7 requests a minute, 8 request burst, 9 tokens a minute, 10 token burst
-- RESULT  {now, 0, requests available, tokens available, running}
local counters = load(ARGV[6])
if not counters then
  return {now, 0, tonumber(ARGV[8]), tonumber(ARGV[10]), 0}
end
leak(counters[3], tonumber(ARGV[7]))
leak(counters[4], tonumber(ARGV[9]))
return {now, 0, available(counters[3], tonumber(ARGV[8])), available(counters[4], tonumber(ARGV[10])), counters[2]}
