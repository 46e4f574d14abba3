-- code, spent code
if redis.call('EXISTS', P .. ARGV[1]) == 1 then return { 'waits' } end
local grant = redis.call('HGET', P .. ARGV[2], 'grant')
return { grant and redis.call('EXISTS', P .. grant) == 1 and 'redeemed' or 'gone' }
