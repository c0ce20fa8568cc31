-- ARGV: token, now, retry_after, jobs, bytes, the first ticket, tokens that a BLPOP took, jobs that are moved at most, bodies
-- that may be put aside, the first ticket of reserves whose answers never arrived (or again the first).
if not is_held() then
  return {'lost'}
end
local first, unheard_from = tonumber(ARGV[6]), tonumber(ARGV[10])
-- A reserve that its caller gave up, overtaken by a later one: nobody waits for it.
if first < tonumber(redis.call('hget', lease, 'ticket')) then
  return {'late'}
end
-- Every key is read before one is written: a key of another type fails here, where it costs nothing.
local unheard = redis.call('zrevrangebyscore', in_hand, '(' .. ARGV[6], ARGV[10])
local due = redis.call('zrangebyscore', delayed, '-inf', ARGV[2], 'LIMIT', 0, ARGV[8])
local lapsed = redis.call('zrangebyscore', reserved, '-inf', ARGV[2], 'LIMIT', 0, ARGV[8])
local in_aside, waiting = redis.call('llen', aside), redis.call('llen', queue)
if waiting + #unheard + #due + #lapsed == 0 and unheard_from == first then
  return {'ok', 0, 0, 0}
end
allow_writes()
redis.call('hset', lease, 'ticket', ARGV[6])
for _, member in ipairs(unheard) do
  put_back(member, uncounted(member))
end
for _, member in ipairs(due) do
  append(delayed, member)
end
-- Our own go to the head in their old order, those of others to the tail, where Laravel puts them.
local ours = {}
for _, member in ipairs(lapsed) do
  local ticket = redis.call('zscore', in_hand, member)
  if ticket then
    ours[#ours + 1] = {tonumber(ticket), member}
  else
    append(reserved, member)
  end
end
table.sort(ours, function(a, b) return a[1] > b[1] end)
for _, pair in ipairs(ours) do
  put_back(pair[2], pair[2])
end

local answer = {'ok', 0, 0, 0}
local lapse = tonumber(ARGV[2]) + tonumber(ARGV[3])
local jobs_max, bytes_max, ticket = tonumber(ARGV[4]), tonumber(ARGV[5]), first
local taken, bytes, put_aside, is_full = 0, 0, 0, 0
while taken < jobs_max and bytes < bytes_max do
  local body = redis.call('lindex', queue, taken)
  if not body then
    break
  end
  local is_job, job = pcall(cjson.decode, body)
  local attempts = is_job and type(job) == 'table' and tonumber(job.attempts)
  local copy = nil
  if attempts and attempts >= 0 and attempts < 1e9 and attempts == math.floor(attempts) then
    job.attempts = job.attempts + 1
    is_job, copy = pcall(cjson.encode, job)
  else
    is_job = false
  end
  if is_job then
    redis.call('zadd', reserved, lapse, copy)
    redis.call('zadd', in_hand, ticket, copy)
    ticket = ticket + 1
    bytes = bytes + #body
    answer[#answer + 1] = body
    answer[#answer + 1] = attempts + 1
  elseif in_aside + put_aside >= tonumber(ARGV[9]) then
    is_full = 1
    break
  else
    redis.call('rpush', aside, body)
    put_aside = put_aside + 1
  end
  taken = taken + 1
end
if taken > 0 then
  redis.call('ltrim', queue, taken, -1)
end
-- One token a job, those that woke the caller included.
if taken > tonumber(ARGV[7]) then
  redis.call('ltrim', notify, taken - tonumber(ARGV[7]), -1)
end
answer[2], answer[3], answer[4] = redis.call('llen', queue), put_aside, is_full
return answer
