-- Look at what has ended, for buckets that no call looks at.
-- ARGV    1-7 terms, 8 how many at most
-- RESULT  {now, appended, how many were looked at}
local swept = sweep(tonumber(ARGV[8]))
return {now, appended, swept}
