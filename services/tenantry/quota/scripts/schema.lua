-- Write the books' schema record if there is none, and read it.
-- KEYS    1 schema hash
-- ARGV    1 version, 2 buckets
-- RESULT  {version, buckets} as they stand
-- TIME    none. ATOMIC so that replicas that start together agree on one record.
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('HSET', KEYS[1], 'version', ARGV[1], 'buckets', ARGV[2])
end
return redis.call('HMGET', KEYS[1], 'version', 'buckets')
