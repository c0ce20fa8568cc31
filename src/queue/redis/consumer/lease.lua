-- ARGV: token, its life in ms, the least fence that is too small, the caller's fence or 0, a dead holder's token or nothing.
local holder = redis.call('get', lease)
if holder and holder ~= ARGV[1] and holder ~= ARGV[5] then
  return {'standby', holder}
end
local last = tonumber(redis.call('get', fence) or '0') or 0
local floor, own = tonumber(ARGV[3]), tonumber(ARGV[4])
-- A lease that ran out and that nobody took is renewed with everything in hand.
if own > 0 and own == last and own >= floor and holder ~= ARGV[5] then
  if holder then
    redis.call('pexpire', lease, ARGV[2])
  else
    allow_writes()
    redis.call('set', lease, ARGV[1], 'PX', ARGV[2])
  end
  return {'held', ARGV[4]}
end
local members = redis.call('zrevrange', in_hand, 0, -1)
local taken = string.format('%.0f', math.max(last, floor) + 1)
allow_writes()
redis.call('set', fence, taken)
redis.call('set', lease, ARGV[1], 'PX', ARGV[2])
for _, member in ipairs(members) do
  put_back(member, member)
end
return {'held', taken}
