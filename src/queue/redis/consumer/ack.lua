-- ARGV: token, tickets.
if not is_held() then
  return {'lost'}
end
for at = 2, #ARGV do
  local member = redis.call('zrangebyscore', in_hand, ARGV[at], ARGV[at])[1]
  if member then
    redis.call('zrem', reserved, member)
    redis.call('zrem', in_hand, member)
  end
end
return {'ok'}
