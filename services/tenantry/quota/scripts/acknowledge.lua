-- Delete what a reader has stored of a bucket's outbox, unless it has that of another history.
-- KEYS    1 outbox
-- ARGV    1 history, 2 lowest id that stays
-- RESULT  nothing
-- TIME    none. ATOMIC since between two commands the server may be promoted, which begins another history.
if string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)') == ARGV[1] then
  redis.call('XTRIM', KEYS[1], 'MINID', '=', ARGV[2])
end
