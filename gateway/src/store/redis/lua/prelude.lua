-- What every step shares. The constants above come from store/keys.rs.
-- KEYS[1] is the prefix of every key of this server: one slot, and the pattern of its ACL user. Records name each
-- other by what follows it.
local P = KEYS[1]
local time = redis.call('TIME')
local NOW = time[1] * 1000 + math.floor(time[2] / 1000)

local function int(n) return string.format('%.0f', n) end

local function expire(key, ms) redis.call('PEXPIRE', P .. key, int(ms)) end

-- Whether a record's MAC is one of those that the caller computed, one for each listed key.
local function has(macs, mac)
  return mac and mac ~= '' and string.find(' ' .. macs .. ' ', ' ' .. mac .. ' ', 1, true) ~= nil
end

-- An optional argument: '' for none, else '=' and the value.
local function agrees(named, granted) return named == '' or named == '=' .. tostring(granted) end

-- Whether a client proved itself as its grant asks: by an assertion, or without one.
local function proves(assertion, granted) return (assertion ~= '') == (granted.by_assertion == true) end

-- Spends an assertion; false: it was spent before. Where there is none, there is nothing to spend.
local function spend(assertion)
  if assertion == '' then return true end
  return redis.call('SET', P .. assertion, '', 'NX', 'PX', SPENT_ASSERTION_LIFE) ~= false
end

-- Says what changed. Entries are numbered, so that a reader sees that some were trimmed.
local function event(what)
  local last = redis.call('XREVRANGE', P .. EVENTS, '+', '-', 'COUNT', 1)[1]
  local n = last and tonumber(last[2][2]) or 0
  redis.call('XADD', P .. EVENTS, 'MAXLEN', EVENTS_KEPT, '*', 'n', int(n + 1), 'of', what)
  expire(EVENTS, EVENTS_LIFE)
end

-- The operator's record and its MAC, when it is another than the one whose MAC the caller has heard: yes, both
local function denial_since(heard)
  local mark = redis.call('HGET', P .. DENIAL, 'm')
  if (mark or '') == heard then return false, false, false end
  return 'yes', redis.call('HGET', P .. DENIAL, 'r'), mark
end

-- Lists `member` until `ends`; what has ended leaves the list.
local function list(index, member, ends)
  redis.call('ZREMRANGEBYSCORE', P .. index, '-inf', int(NOW))
  redis.call('ZADD', P .. index, int(ends), member)
  expire(index, USER_LIFE)
end

-- Remembers when a user gave a consent, for as long as that is told; else forgets it.
local function remember(user, consent, approved)
  local left = approved + CONSENT_LIFE - NOW
  if left <= 0 then
    redis.call('DEL', P .. consent)
    redis.call('ZREM', P .. user .. CONSENTS_OF, consent)
    return
  end
  redis.call('SET', P .. consent, int(math.floor(approved / 1000)))
  expire(consent, left)
  list(user .. CONSENTS_OF, consent, NOW + left)
end

-- Deletes what an index lists beyond `most`, a batch at most: what would end first.
local function keep(index, most)
  local surplus = math.min(redis.call('ZCARD', P .. index) - most, BATCH)
  if surplus <= 0 then return end
  for _, key in ipairs(redis.call('ZRANGE', P .. index, 0, surplus - 1)) do
    redis.call('DEL', P .. key)
    redis.call('ZREM', P .. index, key)
  end
end

-- Ends a grant and all its tokens; whether there was one.
local function revoke(grant)
  local g = redis.call('HMGET', P .. grant, 'owner', 'code', 'access', 'replaced', 'refresh', 'blob')
  if not g[1] then return false end
  for i = 2, 6 do
    if g[i] then redis.call('DEL', P .. g[i]) end
  end
  redis.call('ZREM', P .. g[1] .. GRANTS_OF, grant)
  redis.call('DEL', P .. grant)
  event(grant)
  return true
end

-- Ends grants of a user: how many there were, then key, content and MAC of each. What is gone before its time, or is
-- another's, leaves the index: else it would be found first each time, and nothing that is there would end.
local function revoke_all(user, grants)
  local answer, ended = { '0' }, 0
  for _, grant in ipairs(grants) do
    local g = redis.call('HMGET', P .. grant, 'g', 'm', 'owner')
    if g[3] == user and revoke(grant) then
      ended = ended + 1
      for _, field in ipairs({ grant, g[1], g[2] }) do
        answer[#answer + 1] = field
      end
    else
      redis.call('ZREM', P .. user .. GRANTS_OF, grant)
    end
  end
  answer[1] = int(ended)
  return answer
end

-- Grants of a user that may end together: a batch, for no script may hold up all others for long.
local function some_grants(user) return redis.call('ZRANGE', P .. user .. GRANTS_OF, 0, BATCH - 1) end

-- Ends a batch of grants and sessions of a user: the grants as above, how many sessions, and whether any are left.
local function end_sign_ins(user)
  local answer, ended, index = revoke_all(user, some_grants(user)), 0, P .. user .. SESSIONS_OF
  for _, session in ipairs(redis.call('ZRANGE', index, 0, BATCH - 1)) do
    ended = ended + redis.call('DEL', P .. session)
    redis.call('ZREM', index, session)
  end
  answer[#answer + 1] = int(ended)
  answer[#answer + 1] = redis.call('EXISTS', P .. user .. GRANTS_OF, index) > 0 and 'more' or 'done'
  return answer
end

-- What a user has beyond `most` grants ends, a batch at most: the ones used longest ago, but never `new`. As `revoke_all`.
local function make_room(user, new, most)
  local index, used, ended = P .. user .. GRANTS_OF, {}, {}
  local surplus = math.min(redis.call('ZCARD', index) - most, BATCH)
  if surplus <= 0 then return { '0' } end
  for _, grant in ipairs(redis.call('ZRANGE', index, 0, most + BATCH)) do
    if grant ~= new then used[#used + 1] = { grant, tonumber(redis.call('HGET', P .. grant, 'used')) or 0 } end
  end
  table.sort(used, function(a, b) return a[2] < b[2] end)
  for i = 1, surplus do ended[i] = used[i][1] end
  return revoke_all(user, ended)
end

-- When something was done, as was written. Later than now nothing was, but by the clock of a master that went: another
-- holder of a shared Redis user wrote that.
local function done(at)
  at = tonumber(at)
  if at and at <= NOW + 15 * MINUTE then return at end
end

-- identity, profile, MAC, state, milliseconds since the last check
local function user_fields(user)
  local u = redis.call('HMGET', P .. user, 'identity', 'profile', 'm', 'state', 'checked')
  if not u[3] then return nil end
  u[5] = int(math.max(0, NOW - (done(u[5]) or 0)))
  return u
end

local function renew_user(user)
  -- Written once a day, not with every call.
  if redis.call('PTTL', P .. user) < USER_LIFE - DAY then
    expire(user, USER_LIFE)
    list(USERS, user, NOW + USER_LIFE)
  end
end

-- A sign-in: the user is live and was checked now, and holds what the sign-in gave.
local function signed_in(user, identity, profile, mac)
  redis.call('HSET', P .. user, 'identity', identity, 'profile', profile, 'm', mac, 'state', LIVE, 'checked', int(NOW))
  expire(user, USER_LIFE)
  list(USERS, user, NOW + USER_LIFE)
  event(user)
end

local function write_session(user, session, content, mac, life)
  redis.call('HSET', P .. session, 's', content, 'm', mac)
  expire(session, life)
  list(user .. SESSIONS_OF, session, NOW + life)
  keep(user .. SESSIONS_OF, SESSIONS_KEPT)
end

-- Versions follow the clock, so that one is never used twice, also when the credential was removed in between.
local function write_credential(user, key, sealed)
  local version = tonumber(redis.call('HGET', P .. key, 'version')) or 0
  redis.call('HSET', P .. key, 'version', int(math.max(version + 1, NOW)), 'sealed', sealed)
  redis.call('HDEL', P .. key, 'attempt', 'leased')
  expire(key, CREDENTIAL_LIFE)
  list(user .. CREDENTIALS_OF, key, NOW + CREDENTIAL_LIFE)
end

local function replace_credential(user, key, sealed)
  if sealed ~= '' then return write_credential(user, key, string.sub(sealed, 2)) end
  redis.call('DEL', P .. key)
  redis.call('ZREM', P .. user .. CREDENTIALS_OF, key)
end

-- version, sealed value, attempt while its lease lasts
local function credential_fields(user, key)
  local c = redis.call('HMGET', P .. key, 'version', 'sealed', 'attempt', 'leased')
  if not c[2] then return false, false, false end
  if redis.call('PTTL', P .. key) < CREDENTIAL_LIFE - DAY then
    expire(key, CREDENTIAL_LIFE)
    list(user .. CREDENTIALS_OF, key, NOW + CREDENTIAL_LIFE)
  end
  local leased = (tonumber(c[4]) or 0) - NOW
  return c[1], c[2], leased > 0 and c[3], leased
end

-- Makes a pair the family's live one. `pair`: access, its MAC, its life, refresh, its MAC, its life. `left` is what
-- remains of the sign-in. Returns the access token's life as written.
local function write_pair(grant, owner, generation, pair, left)
  local access_life, refresh_life = math.min(pair[3], left), math.min(pair[6], left)
  redis.call('HSET', P .. pair[1], 'grant', grant, 'm', pair[2])
  expire(pair[1], access_life)
  redis.call('HSET', P .. pair[4], 'grant', grant, 'm', pair[5])
  expire(pair[4], refresh_life)
  redis.call('HSET', P .. grant, 'generation', int(generation), 'access', pair[1], 'refresh', pair[4])
  redis.call('HSET', P .. grant, 'used', int(NOW))
  expire(grant, refresh_life)
  list(owner .. GRANTS_OF, grant, NOW + refresh_life)
  return int(access_life)
end

-- request, MAC, place, attempt, claimed, pin, the pin's MAC, redirect, code
local function flow_fields(flow)
  return redis.call('HMGET', P .. flow, 'r', 'm', 'at', 'attempt', 'claimed', 'pin', 'pm', 'redirect', 'code')
end

-- Lets a flow live for `life` from now, but not beyond the end that was set when it began.
local function renew_flow(flow, life)
  local left = (tonumber(redis.call('HGET', P .. flow, 'ends')) or 0) - NOW
  if left > 0 then expire(flow, math.min(life, left)) end
end

-- What was asked, when the cookie is the flow's.
local function asked_of(fields, cookie)
  if not fields[1] then return nil end
  local ok, asked = pcall(cjson.decode, fields[1])
  if ok and type(asked) == 'table' and asked.cookie == cookie then return asked end
end

local function answer(tag, fields)
  table.insert(fields, 1, tag)
  return fields
end

