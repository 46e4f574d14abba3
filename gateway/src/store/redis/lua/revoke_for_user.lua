-- user, grant or nothing for all
local user, only, own = ARGV[1], ARGV[2], {}
for _, grant in ipairs(only ~= '' and { only } or redis.call('ZRANGE', P .. user .. GRANTS_OF, 0, -1)) do
  if redis.call('HGET', P .. grant, 'owner') == user then own[#own + 1] = grant end
end
return revoke_all(own)
