-- What runs and waits in a pool: of one tenant, or of the tenants with the longest backlogs and of some that only run.
-- ARGV    1-11 as in queue_state.lua, 12 tenant, empty for all, 13 how many at most
-- RESULT  {now, epoch, news, {in use, room, waiting}, {tenant, running, waiting, weight, share in millionths, wait}, ...}
local most, names, seen = tonumber(ARGV[13]), {}, {}

local function add(name)
  if #names < most and not seen[name] then
    names[#names + 1] = name
    seen[name] = true
  end
end

if ARGV[12] ~= '' then
  add(ARGV[12])
else
  for _, org in ipairs(redis.call('ZREVRANGE', OWING, 0, most - 1)) do
    local prefix = counted(org)
    local left = most - #names
    local owing = left > 0 and redis.call('ZREVRANGEBYLEX', BACKLOGS, '(' .. prefix .. ':', '[' .. prefix, 'LIMIT', 0, left)
    for _, member in ipairs(owing or {}) do
      add(string.sub(member, #prefix + 17))
    end
  end
  -- One page: it is enough for a look, and a pool with more tenants than that has a backlog.
  local accounts = redis.call('HSCAN', ACCOUNTS, 0, 'MATCH', 't*', 'COUNT', 5 * most)[2]
  for at = 1, #accounts, 2 do
    add(string.sub(accounts[at], 2))
  end
end

local rows = {}
for _, name in ipairs(names) do
  local tenant = vtc.tenant_of(name)
  if tenant and tenant.running + tenant.waiting > 0 then
    local organisation, share = vtc.organisation_of(tenant.org), 0
    if tenant.ready then
      share = math.floor(1000000 * THOUSAND * tenant.weight / organisation.ready / pool.weights)
    end
    local wait = tenant.waiting > 0 and vtc.wait_us(tenant, tenant.waiting) or 0
    rows[#rows + 1] = {name, tenant.running, tenant.waiting, tenant.weight, share, wait}
  end
end
return {now, pool.epoch, news, {pool.used, vtc.room(), pool.waiting}, unpack(rows)}
