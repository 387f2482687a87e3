-- Takes tokens of buckets (GCRA) and writes who holds how many places; all or nothing. See redis_leases.py.
--
-- KEYS: where the lease is remembered; then one bucket for each wish.
-- ARGV: replica, milliseconds to remember the lease (0: not at all), microseconds that places last; then for each wish
-- six: kind, three of its own, the least, the most.
-- Returns: 1 when granted, else 0; then two numbers for each wish.
-- Every number is whole and below 2^53, so that Lua's doubles are exact.

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local replica, memory_ms, places_us = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
if memory_ms > 0 then
  local told = redis.call('GET', KEYS[1])
  if told then return cmsgpack.unpack(told) end
end

local function whole(number) return string.format('%.0f', number) end

local wishes, granted = {}, 1
for index = 2, #KEYS do
  local at = 4 + (index - 2) * 6
  local kind, a, b, c, least, most = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3],
    tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
  local wish = {key = KEYS[index], kind = kind}
  if kind == 'tokens' then
    -- a / b a second, c at once; the TAT is t microseconds and f / a of one
    wish.scale, wish.step = tonumber(a), tonumber(b) * 1000000
    local depth, ahead = wish.step * tonumber(c), 0
    local kept = redis.call('HMGET', wish.key, 't', 'f', 'p')
    if kept[1] then
      ahead = (tonumber(kept[1]) - now) * wish.scale
      if kept[3] == a then ahead = ahead + tonumber(kept[2]) end
      ahead = math.min(math.max(ahead, 0), depth)
    end
    local rest = depth - ahead
    wish.ahead, wish.amount = ahead, math.min((rest - math.fmod(rest, wish.step)) / wish.step, most)
    if wish.amount < least then granted = 0 end
  else
    -- a places in all, b of them in use here, c this number's sequence
    local others, kept, in_use = 0, redis.call('HGETALL', wish.key), tonumber(b)
    wish.sequence, wish.known = tonumber(c), -1
    for at_field = 1, #kept, 2 do
      local count, ends, sequence = string.match(kept[at_field + 1], '(%d+):(%d+):(%d+)')
      if kept[at_field] == replica then
        wish.known = tonumber(sequence)
      elseif tonumber(ends) <= now then
        redis.call('HDEL', wish.key, kept[at_field])
      else
        others = others + tonumber(count)
      end
    end
    wish.amount = math.max(in_use, math.min(most, tonumber(a) - others))
    wish.free = math.max(0, tonumber(a) - others - wish.amount)
    if wish.amount < in_use + least then granted = 0 end
  end
  wishes[index - 1] = wish
end

local reply = {granted}
for _, wish in ipairs(wishes) do
  if wish.kind == 'tokens' then
    local ahead = wish.ahead
    if granted == 1 then ahead = ahead + wish.amount * wish.step end
    local part = math.fmod(ahead, wish.scale)
    local us = (ahead - part) / wish.scale
    if granted == 1 and wish.amount > 0 then
      redis.call('HSET', wish.key, 't', whole(now + us), 'f', whole(part), 'p', whole(wish.scale))
      redis.call('PEXPIRE', wish.key, whole(math.ceil(us / 1000) + 1000))
    end
    reply[#reply + 1] = granted * wish.amount
    reply[#reply + 1] = us
  else
    if granted == 1 and wish.sequence > wish.known then
      redis.call('HSET', wish.key, replica, whole(wish.amount) .. ':' .. whole(now + places_us)
        .. ':' .. whole(wish.sequence))
      redis.call('PEXPIRE', wish.key, whole(places_us / 1000))
    end
    reply[#reply + 1] = wish.amount
    reply[#reply + 1] = wish.free
  end
end
if memory_ms > 0 and granted == 1 then
  redis.call('SET', KEYS[1], cmsgpack.pack(reply), 'PX', memory_ms)
end
return reply
