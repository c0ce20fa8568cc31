-- ARGV: token.
if not is_held() then
  return {'lost'}
end
allow_writes()
for _, member in ipairs(redis.call('zrevrange', in_hand, 0, -1)) do
  put_back(member, uncounted(member))
end
redis.call('del', lease)
return {'ok'}
