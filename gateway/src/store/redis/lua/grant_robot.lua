-- user, identity, profile, MAC, grant, its content, its MAC, access, its MAC, life, the operator's word as heard
local user, grant, access, life = ARGV[1], ARGV[5], ARGV[8], tonumber(ARGV[10])
local news, denial, mark = denial_since(ARGV[11])
if news then return { 'denial', denial, mark } end
signed_in(user, ARGV[2], ARGV[3], ARGV[4])
-- Beyond so many, the ones that end first end now: all have the same life.
local surplus = math.min(redis.call('ZCARD', P .. user .. GRANTS_OF) + 1 - ROBOT_GRANTS_KEPT, BATCH)
local ended = revoke_all(user, surplus > 0 and redis.call('ZRANGE', P .. user .. GRANTS_OF, 0, surplus - 1) or {})
redis.call('HSET', P .. grant, 'g', ARGV[6], 'm', ARGV[7], 'owner', user, 'generation', '0')
redis.call('HSET', P .. grant, 'redeemed', int(NOW), 'used', int(NOW), 'access', access)
expire(grant, life)
list(user .. GRANTS_OF, grant, NOW + life)
redis.call('HSET', P .. access, 'grant', grant, 'm', ARGV[9])
expire(access, life)
return answer('yes', ended)
