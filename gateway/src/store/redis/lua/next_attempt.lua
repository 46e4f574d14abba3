-- flow, cookie, the attempt that the next one follows, life
local flow, cookie, after, life = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local f = flow_fields(flow)
if not asked_of(f, cookie) or f[3] ~= 'approved' then return { 'unknown' } end
-- Who follows the same link at the same time starts one attempt.
if f[4] ~= after then return answer('approved', f) end
if (tonumber(f[4]) or ATTEMPTS) >= ATTEMPTS then return { 'unknown' } end
redis.call('HINCRBY', P .. flow, 'attempt', 1)
redis.call('HSET', P .. flow, 'claimed', '0')
renew_flow(flow, life)
return answer('approved', flow_fields(flow))
