-- user, identity, profile, MAC
local user = ARGV[1]
if redis.call('EXISTS', P .. user) == 0 then return { 'no' } end
redis.call('HSET', P .. user, 'identity', ARGV[2], 'profile', ARGV[3], 'm', ARGV[4], 'checked', int(NOW))
expire(user, USER_LIFE)
list(USERS, user, NOW + USER_LIFE)
event(user)
return { 'yes' }
