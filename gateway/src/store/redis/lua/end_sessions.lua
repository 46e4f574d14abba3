-- user, the one session to end or nothing, else the one to keep of some of all. How many ended, and whether any are
-- left.
local user, only, kept = ARGV[1], ARGV[2], ARGV[3]
local index, ended = P .. user .. SESSIONS_OF, 0
local function finish(session)
  ended = ended + redis.call('DEL', P .. session)
  redis.call('ZREM', index, session)
end
if only ~= '' then
  if redis.call('ZSCORE', index, only) then finish(only) end
  return { int(ended), 'done' }
end
-- One more than a batch: the one that is kept may be among them.
for _, session in ipairs(redis.call('ZRANGE', index, 0, BATCH)) do
  if session ~= kept then finish(session) end
end
local stays = redis.call('ZSCORE', index, kept) and 1 or 0
return { int(ended), redis.call('ZCARD', index) > stays and 'more' or 'done' }
