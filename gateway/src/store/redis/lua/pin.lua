-- flow, pin, its MAC, session: the session must live; the caller checks whose it is
local flow, pin, mac, session = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local f = flow_fields(flow)
local s = redis.call('HMGET', P .. session, 's', 'm')
if f[3] ~= 'pending' or not s[1] then return { 'no' } end
redis.call('HSET', P .. flow, 'pin', pin, 'pm', mac)
return { 'yes', s[1], s[2] }
