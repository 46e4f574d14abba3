-- user, grant or nothing for some of all. As `revoke_all`, and whether any are left of all.
local user, only = ARGV[1], ARGV[2]
if only == '' then
  local answer = revoke_all(user, some_grants(user))
  answer[#answer + 1] = redis.call('EXISTS', P .. user .. GRANTS_OF) == 1 and 'more' or 'done'
  return answer
end
local answer = revoke_all(user, { only })
answer[#answer + 1] = 'done'
return answer
