-- session
redis.call('DEL', P .. ARGV[1])
return { 'yes' }
