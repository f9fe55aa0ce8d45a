-- A token bucket that all processes share. Takes one request or says how long to wait; a refusal takes nothing.
-- KEYS: the bucket. ARGV: capacity, tokens a minute, and optionally the instant (ms) before which nobody may ask.
-- Reply: milliseconds to wait, 0 when the request was taken.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local capacity, per_minute = tonumber(ARGV[1]), tonumber(ARGV[2])
local stored = redis.call('HMGET', KEYS[1], 'tokens', 'at', 'closed_until')
local closed_until = math.max(tonumber(stored[3] or 0), tonumber(ARGV[3] or 0))
local tokens = tonumber(stored[1] or capacity)
tokens = math.min(capacity, tokens + math.max(0, now - tonumber(stored[2] or now)) * per_minute / 60000)

local wait = 0
if ARGV[3] then
  tokens = 0 -- the server has counted more than we did
elseif closed_until > now then
  wait = closed_until - now
elseif tokens < 1 then
  wait = math.ceil((1 - tokens) * 60000 / per_minute)
else
  tokens = tokens - 1
end
redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at', now, 'closed_until', closed_until)
redis.call('PEXPIRE', KEYS[1], 600000)
return wait
