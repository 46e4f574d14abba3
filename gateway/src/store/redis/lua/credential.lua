-- user, credential
local version, sealed, attempt = credential_fields(ARGV[1], ARGV[2])
return { sealed and 'yes' or 'no', version, sealed, attempt }
