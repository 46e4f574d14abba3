-- user, credential, version, state
local user = ARGV[1]
local version = redis.call('HGET', P .. ARGV[2], 'version')
local now = redis.call('HGET', P .. user, 'state')
if not now or (version and version ~= ARGV[3]) then return { 'no' } end
if now ~= LIVE then return { 'dead' } end
redis.call('HSET', P .. user, 'state', ARGV[4], 'checked', int(NOW))
event(user)
return { 'died' }
