-- user
end_sign_ins(ARGV[1])
return { 'yes' }
