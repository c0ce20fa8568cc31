-- ARGV: token, when the reservations lapse. What somebody moved back to the queue stays there.
if not is_held() then
  return {'lost'}
end
allow_writes()
for _, member in ipairs(redis.call('zrange', in_hand, 0, -1)) do
  redis.call('zadd', reserved, 'XX', ARGV[2], member)
end
return {'ok'}
