-- presented, grant, generation, its MACs, client, identity, resource, the next pair, sign-in life, successor, grace,
-- recheck, assertion, the operator's word as heard, rules, the profile that was just judged
local presented, grant, generation = ARGV[1], ARGV[2], tonumber(ARGV[3])
local pair = { ARGV[8], ARGV[9], tonumber(ARGV[10]), ARGV[11], ARGV[12], tonumber(ARGV[13]) }
local sign_in_life, successor, grace, recheck = tonumber(ARGV[14]), ARGV[15], tonumber(ARGV[16]), tonumber(ARGV[17])
local assertion, heard, rules, just_judged = ARGV[18], ARGV[19], ARGV[20], ARGV[21]

local g = redis.call('HMGET', P .. grant, 'g', 'm', 'owner', 'generation', 'redeemed', 'access', 'replaced', 'blob',
  'judged')
if not g[1] then return { 'refused' } end
local current = tonumber(g[4]) or 0
local r = redis.call('HMGET', P .. presented, 'grant', 'm', 'blob')
local blob = r[3] and r[1] == grant and r[3]
local live = not r[3] and has(ARGV[4], r[2]) and generation == current
if not blob and not live then
  -- Its own MAC is right (the caller checked it) and it was replaced, longer ago than the grace: whoever presents it,
  -- as whichever client.
  if not r[3] and generation < current and revoke(grant) then return { 'reused' } end
  return { 'refused' }
end
local ok, granted = pcall(cjson.decode, g[1])
if not ok or granted.client_id ~= ARGV[5] or granted.identity ~= ARGV[6] or not agrees(ARGV[7], granted.resource) then
  return { 'refused' }
end
if not proves(assertion, granted) then return { 'refused' } end

local u = user_fields(g[3])
if not u then return { 'refused' } end
local news, denial, mark = denial_since(heard)
local function with_user(tag, life, sealed)
  return { tag, g[1], g[2], life, sealed, u[1], u[2], u[3], u[4], u[5], news, denial, mark }
end
if u[4] ~= LIVE then return with_user('dead', '0', false) end
if blob then
  if not spend(assertion) then return { 'spent' } end
  local life = g[6] and redis.call('PTTL', P .. g[6]) or 0
  return with_user('successor', int(math.max(0, life)), blob)
end
-- Every grant with a refresh token was redeemed: where nothing says when, its sign-in is over.
local redeemed = done(g[5])
local left = redeemed and redeemed + sign_in_life - NOW or 0
if left <= 0 then return { 'refused' } end
-- Who is not admitted must lose nothing: that is found out before anything is replaced or spent.
local judged = rules .. ' ' .. u[3]
local admitted = not news and (g[9] == judged or just_judged == u[2])
if not admitted or (recheck and tonumber(u[5]) >= recheck) then return with_user('due', '0', false) end
if not spend(assertion) then return { 'spent' } end

-- An access token that ends before its time: the event names it alone, for its successor's streams go on.
local function end_access(access)
  if redis.call('DEL', P .. access) == 1 then event(access) end
end

-- Redeeming the successor ends the grace of what came before at once.
if g[7] then end_access(g[7]) end
if g[8] then redis.call('DEL', P .. g[8]) end
redis.call('HDEL', P .. grant, 'replaced', 'blob')
redis.call('HSET', P .. grant, 'judged', judged)
redis.call('DEL', P .. presented)
if grace > 0 then
  redis.call('HSET', P .. presented, 'grant', grant, 'blob', successor)
  expire(presented, grace)
  redis.call('HSET', P .. grant, 'blob', presented)
end
if g[6] then
  redis.call('HSET', P .. grant, 'replaced', g[6])
  if grace == 0 then
    end_access(g[6])
  elseif redis.call('PTTL', P .. g[6]) > grace then
    expire(g[6], grace)
  end
end
return with_user('rotated', write_pair(grant, g[3], generation + 1, pair, left), false)
