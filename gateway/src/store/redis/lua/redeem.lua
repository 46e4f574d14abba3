-- code, grant, the code's MACs, client, redirect URI, resource, spent code, its MAC, its MACs, the pair, sign-in life,
-- assertion, the operator's word as heard, rules, the profile that was just judged
local code, grant, spent = ARGV[1], ARGV[2], ARGV[7]
local pair = { ARGV[10], ARGV[11], tonumber(ARGV[12]), ARGV[13], ARGV[14], tonumber(ARGV[15]) }
local left = tonumber(ARGV[16])
local mac = redis.call('HGET', P .. code, 'm')
if not mac then
  local s = redis.call('HMGET', P .. spent, 'm', 'at')
  if not has(ARGV[9], s[1]) then return { 'refused' } end
  -- Parallel redemptions are no replay.
  if NOW - (tonumber(s[2]) or 0) <= REPLAY_GRACE then return { 'parallel' } end
  return { revoke(grant) and 'ended' or 'ended before' }
end
-- The MAC covers grant, client and challenge: a code shown with others has another.
if not has(ARGV[3], mac) then return { 'refused' } end
local g = redis.call('HMGET', P .. grant, 'g', 'm', 'owner', 'code', 'judged')
if not g[1] or g[4] ~= code then return { 'refused' } end
local ok, granted = pcall(cjson.decode, g[1])
if not ok then return { 'refused' } end
-- It may be left out where the authorization request left it out, too (RFC 6749 section 4.1.3).
local returns = ARGV[5] == '=' .. tostring(granted.redirect_uri)
  or (ARGV[5] == '' and granted.redirect_uri_implied == true)
if granted.client_id ~= ARGV[4] or not returns or not agrees(ARGV[6], granted.resource) then
  return { 'refused' }
end
if not proves(ARGV[17], granted) then return { 'refused' } end
local u = user_fields(g[3])
if not u then return { 'refused' } end
local news, denial, mark = denial_since(ARGV[18])
local function with_user(tag)
  return { tag, g[1], g[2], u[1], u[2], u[3], u[4], u[5], news, denial, mark }
end
if u[4] ~= LIVE then return with_user('dead') end
local judged = ARGV[19] .. ' ' .. u[3]
if news or (g[5] ~= judged and ARGV[20] ~= u[2]) then return with_user('due') end
if not spend(ARGV[17]) then return { 'spent' } end
redis.call('DEL', P .. code)
redis.call('HDEL', P .. grant, 'code')
redis.call('HSET', P .. spent, 'grant', grant, 'm', ARGV[8], 'at', int(NOW))
expire(spent, SPENT_CODE_LIFE)
redis.call('HSET', P .. grant, 'redeemed', int(NOW), 'judged', judged)
local access_life = write_pair(grant, g[3], 1, pair, left)
return { 'redeemed', g[1], g[2], access_life }
