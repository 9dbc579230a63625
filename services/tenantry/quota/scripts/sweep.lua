-- Look at what has ended, for buckets that no call looks at.
-- ARGV    1 remember_us, 2 sweep at most
-- RESULT  {now, appended, how many were looked at}
local swept = sweep(tonumber(ARGV[2]), tonumber(ARGV[1]))
return {now, appended, swept}
