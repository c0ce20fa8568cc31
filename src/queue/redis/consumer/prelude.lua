-- What every script of the consumer begins with. ARGV[1] is the caller's token.
local queue, notify, reserved, delayed, in_hand, lease, fence, aside = unpack(KEYS)

local function is_held()
  return redis.call('hget', lease, 'holder') == ARGV[1]
end

-- A write that needs no memory, before those that do: then a full server takes them too, and only its consumers empty it.
local function allow_writes()
  redis.call('ltrim', notify, 0, -1)
end

-- Written before it is removed, here and below: a command that an access list forbids ends a script half-way, and must cost no job.
local function append(set, member)
  if redis.call('zscore', set, member) then
    redis.call('rpush', queue, member)
    redis.call('rpush', notify, '1')
    redis.call('zrem', set, member)
  end
end

-- From the hand to the head of the queue, unless the reservation lapsed and somebody moved the job back.
local function put_back(member, body)
  if redis.call('zscore', reserved, member) then
    redis.call('lpush', queue, body)
    redis.call('rpush', notify, '1')
    redis.call('zrem', reserved, member)
  end
  redis.call('zrem', in_hand, member)
end

-- The body of a job that was reserved and never looked at.
local function uncounted(member)
  local job = cjson.decode(member)
  job.attempts = job.attempts - 1
  return cjson.encode(job)
end

