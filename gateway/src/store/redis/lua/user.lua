-- user
local u = user_fields(ARGV[1])
if not u then return { 'no' } end
return { 'yes', u[1], u[2], u[3], u[4], u[5] }
