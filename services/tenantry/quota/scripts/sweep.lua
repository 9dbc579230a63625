-- Look at what has ended, for buckets that no call looks at.
-- ARGV    1-5 terms, 6 how many at most
-- RESULT  {now, appended, how many were looked at}
local swept = sweep(tonumber(ARGV[6]))
return {now, appended, swept}
