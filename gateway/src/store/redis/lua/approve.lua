-- flow, nonce, cookie, life
local flow, nonce, cookie, life = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local f = flow_fields(flow)
local asked = asked_of(f, cookie)
if not asked or asked.nonce ~= nonce then return { 'unknown' } end
if f[3] == 'pending' then
  redis.call('HSET', P .. flow, 'at', 'approved', 'attempt', '1', 'claimed', '0')
  renew_flow(flow, life)
  return answer('approved', flow_fields(flow))
end
return answer(f[3] == 'approved' and 'approved' or 'over', f)
