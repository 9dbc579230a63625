-- Say which buckets' outboxes have grown. A hint to readers, who look at all buckets from time to time anyway.
-- KEYS    1 hints zset: bucket by the microsecond of its last hint
-- ARGV    the buckets
-- RESULT  nothing
-- TIME    Redis's own (TIME), so that the hints of all replicas are in one order. ATOMIC: one time for all.
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000000 + time[2])
for _, bucket in ipairs(ARGV) do
  redis.call('ZADD', KEYS[1], now, bucket)
end
