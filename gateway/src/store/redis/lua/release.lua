-- credential, attempt
if redis.call('HGET', P .. ARGV[1], 'attempt') == ARGV[2] then
  redis.call('HDEL', P .. ARGV[1], 'attempt', 'leased')
end
return { 'yes' }
