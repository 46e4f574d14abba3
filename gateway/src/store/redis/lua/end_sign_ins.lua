-- user
return end_sign_ins(ARGV[1])
