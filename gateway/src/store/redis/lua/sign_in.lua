-- flow, pin, its MAC, user, identity, profile, the user's MAC, credential, its value, session, its content, its MAC,
-- its life
local flow, user, session = ARGV[1], ARGV[4], ARGV[10]
if flow_fields(flow)[3] ~= 'pending' then return { 'no' } end
redis.call('HSET', P .. flow, 'pin', ARGV[2], 'pm', ARGV[3])
signed_in(user, ARGV[5], ARGV[6], ARGV[7])
replace_credential(user, ARGV[8], ARGV[9])
write_session(user, session, ARGV[11], ARGV[12], ARGV[13])
return { 'yes' }
