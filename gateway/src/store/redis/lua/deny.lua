-- flow, nonce, cookie
local flow, nonce, cookie = ARGV[1], ARGV[2], ARGV[3]
local f = flow_fields(flow)
local asked = asked_of(f, cookie)
if not asked or asked.nonce ~= nonce or f[3] == 'denied' then return { 'unknown' } end

-- What is told of a consent is its last approval of those whose grants are there.
local function recall(user, consent)
  local last = 0
  for _, grant in ipairs(redis.call('ZRANGE', P .. user .. GRANTS_OF, 0, -1)) do
    local g = redis.call('HMGET', P .. grant, 'consent', 'approved')
    if g[1] == consent then last = math.max(last, done(g[2]) or 0) end
  end
  remember(user, consent, last)
end

local grant = false
if f[3] == 'done' then
  grant = redis.call('HGET', P .. f[9], 'grant')
  local g = grant and redis.call('HMGET', P .. grant, 'code', 'owner', 'consent')
  -- A code that its grant does not name was redeemed, or is none of ours.
  if not g or g[1] ~= f[9] then return { 'unknown' } end
  revoke(grant)
  if g[3] then recall(g[2], g[3]) end
end
redis.call('HSET', P .. flow, 'at', 'denied')
return { f[3], grant }
