-- Read a bucket's outbox: what comes after a position, or all from the beginning when that is of another history.
-- KEYS    1 outbox
-- ARGV    1 history, 2 position, 3 most entries
-- RESULT  {history, entries as XRANGE gives them}
-- TIME    none. ATOMIC since between two commands the server may be promoted, which begins another history.
local history = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')
local from = history == ARGV[1] and '(' .. ARGV[2] or '-'
return {history, redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', ARGV[3])}
