return redis.call('ZRANGEBYSCORE', P .. USERS, '(' .. int(NOW), '+inf')
