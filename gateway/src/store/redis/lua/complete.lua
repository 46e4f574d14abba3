-- flow, attempt, redirect, user, identity, profile, the user's MAC, credential, its value, grant, its content, its MAC,
-- code, its MAC, its life, client, its life, consent, the rules by which the user was admitted, session or nothing, its
-- content, its MAC, its life
local flow, user, grant, code, code_life = ARGV[1], ARGV[4], ARGV[10], ARGV[13], ARGV[15]
local client, client_life, consent = ARGV[16], ARGV[17], ARGV[18]
local f = flow_fields(flow)
if f[3] ~= 'approved' or f[4] ~= ARGV[2] then return { 'no' } end
-- A pin is `<user> <session>`: who signed in here must be who consents.
if f[6] and string.find(USER .. f[6], user .. ' ', 1, true) ~= 1 then return { 'no' } end
redis.call('HSET', P .. flow, 'at', 'done', 'redirect', ARGV[3], 'code', code)
signed_in(user, ARGV[5], ARGV[6], ARGV[7])
replace_credential(user, ARGV[8], ARGV[9])
redis.call('HSET', P .. grant, 'g', ARGV[11], 'm', ARGV[12], 'owner', user, 'generation', '0', 'code', code)
redis.call('HSET', P .. grant, 'judged', ARGV[19] .. ' ' .. ARGV[7], 'used', int(NOW))
redis.call('HSET', P .. grant, 'consent', consent, 'approved', int(NOW))
expire(grant, code_life)
list(user .. GRANTS_OF, grant, NOW + code_life)
redis.call('HSET', P .. code, 'grant', grant, 'm', ARGV[14])
expire(code, code_life)
redis.call('HSETNX', P .. client, 'first', int(NOW))
redis.call('HSET', P .. client, 'last', int(NOW))
expire(client, client_life)
list(user .. CLIENTS_OF, client, NOW + client_life)
keep(user .. CLIENTS_OF, CLIENTS_KEPT)
remember(user, consent, NOW)
keep(user .. CONSENTS_OF, CONSENTS_KEPT)
if ARGV[20] ~= '' then write_session(user, ARGV[20], ARGV[21], ARGV[22], ARGV[23]) end
return answer('yes', make_room(user, grant, GRANTS_KEPT))
