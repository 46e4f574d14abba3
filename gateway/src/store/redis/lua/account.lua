-- user, how many grants, how many sessions. The indexes are ordered by the ends of what they list, so the last come
-- first; a grant whose code nobody redeemed is not a client's yet.
local user = ARGV[1]
local answer, grants = { '0' }, 0
for _, grant in ipairs(redis.call('ZREVRANGEBYSCORE', P .. user .. GRANTS_OF, '+inf', '(' .. int(NOW), 'LIMIT', 0, ARGV[2])) do
  local g = redis.call('HMGET', P .. grant, 'g', 'm', 'redeemed', 'used')
  if g[3] then
    grants = grants + 1
    for _, field in ipairs({ grant, g[1], g[2], int(math.max(0, NOW - (tonumber(g[4]) or 0))) }) do
      answer[#answer + 1] = field
    end
  end
end
answer[1] = int(grants)
for _, session in ipairs(redis.call('ZREVRANGEBYSCORE', P .. user .. SESSIONS_OF, '+inf', '(' .. int(NOW), 'LIMIT', 0, ARGV[3])) do
  local s = redis.call('HMGET', P .. session, 's', 'm')
  if s[1] then
    for _, field in ipairs({ session, s[1], s[2] }) do
      answer[#answer + 1] = field
    end
  end
end
return answer
