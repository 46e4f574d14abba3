-- access token, tail of the identity's credential
local access = ARGV[1]
local a = redis.call('HMGET', P .. access, 'grant', 'm')
if not a[1] then return { 'no' } end
local g = redis.call('HMGET', P .. a[1], 'g', 'm', 'owner', 'used')
local u = g[1] and user_fields(g[3])
if not u then return { 'no' } end
renew_user(g[3])
if NOW - (tonumber(g[4]) or 0) > MINUTE then redis.call('HSET', P .. a[1], 'used', int(NOW)) end
local credential = CREDENTIAL .. string.sub(g[3], #USER + 1) .. ARGV[2]
local version, sealed, attempt = credential_fields(g[3], credential)
return { 'yes', a[1], a[2], int(redis.call('PTTL', P .. access)), g[1], g[2],
  u[1], u[2], u[3], u[4], u[5], version, sealed, attempt }
