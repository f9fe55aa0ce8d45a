-- Trips the breaker. Tripped already: the first reason stands. ARGV: the change, reason.
local sequence, breaker, quiet_until_ms = open_change('breaker', 'quiet_until_ms')
if not sequence then
  return breaker
end
if breaker_now(breaker, quiet_until_ms, now_us()) == 'tripped' then
  return no_change(sequence)
end
return commit_change(sequence, 'breaker', 'tripped', 'breaker_reason', ARGV[4])
