-- flow, nonce, cookie
local flow, nonce, cookie = ARGV[1], ARGV[2], ARGV[3]
local f = flow_fields(flow)
local asked = asked_of(f, cookie)
if not asked or asked.nonce ~= nonce or f[3] ~= 'pending' then return { 'unknown' } end
redis.call('HSET', P .. flow, 'at', 'denied')
return answer('denied', flow_fields(flow))
