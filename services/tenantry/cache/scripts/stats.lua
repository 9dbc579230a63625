-- Read a tenant's counters.
-- RESULT  {hits, misses, waits, stores}, each a text or nothing
return redis.call('HMGET', STATS, 'hits', 'misses', 'waits', 'stores')
