-- grant, client, assertion
local g = redis.call('HMGET', P .. ARGV[1], 'g', 'm')
if not g[1] then return { 'unknown' } end
local ok, granted = pcall(cjson.decode, g[1])
if not ok or granted.client_id ~= ARGV[2] or not proves(ARGV[3], granted) then return { 'other' } end
if not spend(ARGV[3]) then return { 'spent' } end
revoke(ARGV[1])
return { 'revoked', g[1], g[2] }
