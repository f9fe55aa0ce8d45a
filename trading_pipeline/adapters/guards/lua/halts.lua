-- The one place that derives what an account may do.

-- The breaker as it is now: the end of a quiet period is a matter of time, nobody writes it down.
local function breaker_now(stored, quiet_until_ms, now)
  if stored == 'quiet_period' and now >= whole(quiet_until_ms, 'quiet_until_ms') * 1000 then
    return 'open'
  end
  return stored
end

-- ACTIVE, REDUCING or HALTED, and the first cause of it. Whatever is not known to be fine is not.
local function trading_state(kill_switch, breaker, gate, over)
  if kill_switch ~= 'disengaged' then
    return 'halted', 'kill_switch_engaged'
  elseif breaker ~= 'open' then
    return 'reducing', breaker == 'quiet_period' and 'quiet_period' or 'breaker_tripped'
  elseif gate ~= 'open' then
    return 'reducing', 'gate_closed'
  elseif over then
    return 'reducing', 'limit_breached'
  end
  return 'active', ''
end
