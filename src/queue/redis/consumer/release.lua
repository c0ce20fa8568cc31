-- ARGV: token, when it is due, ticket.
if not is_held() then
  return {'lost'}
end
local member = redis.call('zrangebyscore', in_hand, ARGV[3], ARGV[3])[1]
if member then
  allow_writes()
  if redis.call('zscore', reserved, member) then
    redis.call('zadd', delayed, ARGV[2], member)
    redis.call('zrem', reserved, member)
  end
  redis.call('zrem', in_hand, member)
end
return {'ok'}
