-- user, grant or nothing for some of all. As `revoke_all`, and whether any are left of all.
local user, only = ARGV[1], ARGV[2]
local answer = revoke_all(user, only ~= '' and { only } or some_grants(user))
local left = only == '' and redis.call('EXISTS', P .. user .. GRANTS_OF) == 1
answer[#answer + 1] = left and 'more' or 'done'
return answer
