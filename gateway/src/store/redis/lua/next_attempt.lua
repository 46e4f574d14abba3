-- flow, cookie, life
local flow, cookie, life = ARGV[1], ARGV[2], tonumber(ARGV[3])
local f = flow_fields(flow)
if not asked_of(f, cookie) or f[3] ~= 'approved' then return { 'unknown' } end
if (tonumber(f[4]) or ATTEMPTS) >= ATTEMPTS then return { 'unknown' } end
redis.call('HINCRBY', P .. flow, 'attempt', 1)
redis.call('HSET', P .. flow, 'claimed', '0')
renew_flow(flow, life)
return answer('approved', flow_fields(flow))
