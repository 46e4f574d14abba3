-- user, the one session to end or nothing, else the one to keep
local user, only, kept = ARGV[1], ARGV[2], ARGV[3]
local index, ended = user .. SESSIONS_OF, 0
for _, session in ipairs(redis.call('ZRANGE', P .. index, 0, -1)) do
  if session == only or (only == '' and session ~= kept) then
    ended = ended + redis.call('DEL', P .. session)
    redis.call('ZREM', P .. index, session)
  end
end
return { int(ended) }
