-- The one place that derives what an account may do.

-- The breaker as it is now: the end of a quiet period is a matter of time, nobody writes it down.
local function breaker_now(account, now)
  if account[BREAKER] == QUIET_PERIOD and now >= account[QUIET_UNTIL_MS] * 1000 then
    return OPEN
  end
  return account[BREAKER]
end

-- ACTIVE, REDUCING or HALTED, and the first cause of it. Whatever is not known to be fine is not.
local function trading_state(account, breaker, over)
  if account[KILL_SWITCH] ~= DISENGAGED then
    return 'halted', 'kill_switch_engaged'
  elseif breaker ~= OPEN then
    return 'reducing', breaker == QUIET_PERIOD and 'quiet_period' or 'breaker_tripped'
  elseif account[GATE] ~= OPEN then
    return 'reducing', 'gate_closed'
  elseif over then
    return 'reducing', 'limit_breached'
  end
  return 'active', ''
end
