-- flow, attempt, user, identity, profile, the user's MAC, credential, its value, session, its content, its MAC, its life
local flow, user, session = ARGV[1], ARGV[3], ARGV[9]
local f = flow_fields(flow)
if f[3] ~= 'approved' or f[4] ~= ARGV[2] or f[5] == '0' then return { 'no' } end
redis.call('DEL', P .. flow)
signed_in(user, ARGV[4], ARGV[5], ARGV[6])
replace_credential(user, ARGV[7], ARGV[8])
write_session(user, session, ARGV[10], ARGV[11], ARGV[12])
return { 'yes' }
