-- Trips the breaker. Tripped already: the first reason stands.
local sequence, breaker, quiet_until_ms = open_book('breaker', 'quiet_until_ms')
if not sequence then
  return {MISSING}
end
if breaker_now(breaker, quiet_until_ms, now_us()) == 'tripped' then
  return {OK, sequence}
end
return commit(sequence, 'breaker', 'tripped', 'breaker_reason', ARGV[1])
