-- flow, nonce, cookie
local flow, nonce, cookie = ARGV[1], ARGV[2], ARGV[3]
local f = flow_fields(flow)
local asked = asked_of(f, cookie)
if not asked or asked.nonce ~= nonce or f[3] == 'denied' then return { 'unknown' } end
local grant = false
if f[3] == 'done' then
  grant = redis.call('HGET', P .. f[9], 'grant')
  -- A code that its grant does not name was redeemed, or is none of ours.
  if not grant or redis.call('HGET', P .. grant, 'code') ~= f[9] then return { 'unknown' } end
  revoke(grant)
end
redis.call('HSET', P .. flow, 'at', 'denied')
return { f[3], grant }
