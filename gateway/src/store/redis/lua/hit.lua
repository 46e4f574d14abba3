-- counter, window
local key = ARGV[1]
local count = redis.call('INCR', P .. key)
if redis.call('PTTL', P .. key) < 0 then expire(key, ARGV[2]) end
return { int(count), int(redis.call('PTTL', P .. key)) }
