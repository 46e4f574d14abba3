-- user, grant or nothing for all
local user, only = ARGV[1], ARGV[2]
local answer, ended = { '0' }, 0
local grants = only ~= '' and { only } or redis.call('ZRANGE', P .. user .. GRANTS_OF, 0, -1)
for _, grant in ipairs(grants) do
  local g = redis.call('HMGET', P .. grant, 'owner', 'g', 'm')
  if g[1] == user and revoke(grant) then
    ended = ended + 1
    for _, field in ipairs({ grant, g[2], g[3] }) do
      answer[#answer + 1] = field
    end
  end
end
answer[1] = int(ended)
return answer
