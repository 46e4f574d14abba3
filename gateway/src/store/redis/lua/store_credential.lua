-- user, credential, version of the parent, sealed value
local user, key = ARGV[1], ARGV[2]
if redis.call('HGET', P .. key, 'version') ~= ARGV[3] then return { 'no' } end
write_credential(user, key, ARGV[4])
event(user)
return { 'yes' }
