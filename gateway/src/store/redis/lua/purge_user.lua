-- user
local user = ARGV[1]
local ended = end_sign_ins(user)
if ended[#ended] == 'more' then return { 'more' } end
for _, index in ipairs({ user .. CREDENTIALS_OF, user .. CONSENTS_OF, user .. CLIENTS_OF }) do
  for _, key in ipairs(redis.call('ZRANGE', P .. index, 0, -1)) do
    redis.call('DEL', P .. key)
  end
  redis.call('DEL', P .. index)
end
local known = redis.call('DEL', P .. user)
redis.call('ZREM', P .. USERS, user)
event(user)
return { known == 1 and 'yes' or 'no' }
