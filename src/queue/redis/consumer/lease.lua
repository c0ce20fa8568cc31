-- ARGV: token, its life in ms, the least fence that is too small, the caller's fence or 0, a dead holder's token or nothing, the
-- caller's next ticket.
local holder = redis.call('hget', lease, 'holder')
if holder and holder ~= ARGV[1] and holder ~= ARGV[5] then
  return {'standby', holder}
end
local function take()
  allow_writes()
  redis.call('hset', lease, 'holder', ARGV[1], 'ticket', ARGV[6])
  redis.call('pexpire', lease, ARGV[2])
end
local last = tonumber(redis.call('get', fence) or '0') or 0
local floor, own = tonumber(ARGV[3]), tonumber(ARGV[4])
-- A lease that ran out and that nobody took is renewed with everything in hand.
if own > 0 and own == last and own >= floor and holder ~= ARGV[5] then
  if holder then
    redis.call('pexpire', lease, ARGV[2])
  else
    take()
  end
  return {'held', ARGV[4]}
end
-- A server that lost its memory, or a database that knows of more: greater than all of them.
local members = redis.call('zrevrange', in_hand, 0, -1)
local taken = string.format('%.0f', math.max(last, floor, own) + 1)
allow_writes()
redis.call('set', fence, taken)
take()
for _, member in ipairs(members) do
  put_back(member, member)
end
return {'held', taken}
