-- The only clock of all verbs: whole microseconds since 1970. A simulation puts a clock of its own in its place.
local function now_us()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end
