-- flow, request, MAC, life
redis.call('HSET', P .. ARGV[1], 'r', ARGV[2], 'm', ARGV[3], 'at', 'pending')
expire(ARGV[1], ARGV[4])
return { 'yes' }
