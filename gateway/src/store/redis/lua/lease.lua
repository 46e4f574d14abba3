-- user, credential, version, attempt, lease
local key, mine = ARGV[2], ARGV[4]
local version, sealed, attempt, left = credential_fields(ARGV[1], key)
if not sealed then return { 'absent' } end
if version ~= ARGV[3] then return { 'moved', version, sealed, attempt } end
-- The same attempt again is the same caller, whose answer was lost.
if attempt and attempt ~= mine then return { 'busy', int(left) } end
-- A lease that was given back is gone; one that ran out is still here.
local before = redis.call('HGET', P .. key, 'attempt')
redis.call('HSET', P .. key, 'attempt', mine, 'leased', int(NOW + ARGV[5]))
return { before and before ~= mine and 'taken_over' or 'won' }
