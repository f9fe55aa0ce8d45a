-- The limits as they bind now, and who is over them.

-- What one symbol's position is held to: shares and 1/10,000 dollar.
local function position_limits(state, limits)
  local LIMITS_NUMBERS = unpack(limits)
  local SYMBOL_NUMBERS = unpack(state)
  --@ own_limits
  return max_position_shares, max_position_notional
end

local function over_limit(account, limits)
  local ACCOUNT_NUMBERS = unpack(account)
  local LIMITS_NUMBERS = unpack(limits)
  return
    --@ over
end

local function limits_due(account, now)
  return account[LIMITS_UNTIL_MS] > 0 and account[LIMITS_UNTIL_MS] * 1000 <= now
end
