-- user, state, whether it only says that a dead one was told
local user, state = ARGV[1], ARGV[2]
local now = redis.call('HGET', P .. user, 'state')
if not now or now == state or (ARGV[3] == '1' and now == LIVE) then return { 'no' } end
redis.call('HSET', P .. user, 'state', state)
-- A change is as good as a check, and says when.
if ARGV[3] ~= '1' then redis.call('HSET', P .. user, 'checked', int(NOW)) end
event(user)
return { 'yes' }
