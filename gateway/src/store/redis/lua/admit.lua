-- counter, how many it holds, its window; again for each
for i = 1, #ARGV, 3 do
  local key = P .. ARGV[i]
  if (tonumber(redis.call('GET', key)) or 0) >= tonumber(ARGV[i + 1]) then
    if redis.call('PTTL', key) < 0 then expire(ARGV[i], ARGV[i + 2]) end
    return { 'full', int(redis.call('PTTL', key)) }
  end
end
for i = 1, #ARGV, 3 do
  redis.call('INCR', P .. ARGV[i])
  if redis.call('PTTL', P .. ARGV[i]) < 0 then expire(ARGV[i], ARGV[i + 2]) end
end
return { 'yes' }
