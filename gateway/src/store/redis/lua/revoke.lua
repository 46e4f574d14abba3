-- grant
revoke(ARGV[1])
return { 'yes' }
