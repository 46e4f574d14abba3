-- user
local user = ARGV[1]
for _, grant in ipairs(redis.call('ZRANGE', P .. user .. GRANTS_OF, 0, -1)) do
  revoke(grant)
end
for _, index in ipairs({ SESSIONS_OF, CREDENTIALS_OF }) do
  for _, key in ipairs(redis.call('ZRANGE', P .. user .. index, 0, -1)) do
    redis.call('DEL', P .. key)
  end
  redis.call('DEL', P .. user .. index)
end
redis.call('DEL', P .. user .. GRANTS_OF, P .. user)
redis.call('ZREM', P .. USERS, user)
event(user)
return { 'yes' }
