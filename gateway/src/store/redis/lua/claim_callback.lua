-- flow, cookie, attempt
local flow, cookie, attempt = ARGV[1], ARGV[2], ARGV[3]
local f = flow_fields(flow)
if not asked_of(f, cookie) or f[3] == 'pending' then return { 'unknown' } end
if f[3] ~= 'approved' then return answer('over', f) end
if f[4] ~= attempt or f[5] ~= '0' then return answer('spent', f) end
redis.call('HSET', P .. flow, 'claimed', '1')
return answer('claimed', flow_fields(flow))
