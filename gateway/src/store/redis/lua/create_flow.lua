-- flow, request, MAC, life
local flow, life = ARGV[1], tonumber(ARGV[4])
redis.call('HSET', P .. flow, 'r', ARGV[2], 'm', ARGV[3], 'at', 'pending', 'ends', int(NOW + FLOW_LIVES * life))
expire(flow, life)
return { 'yes' }
