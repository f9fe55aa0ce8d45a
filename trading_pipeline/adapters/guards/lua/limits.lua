-- The limits as they bind now, and who is over them.

-- A limit that is off is ABSENT; only two may be.
local function read_limits(text)
  local limits = read_record('limits', text, LIMITS_STRUCT, LIMITS_SIZE, LIMITS_TAG)
  local adv, equity = limits[MAX_ORDER_ADV_BPS], limits[MAX_POSITION_EQUITY_BPS]
  limits[MAX_ORDER_ADV_BPS], limits[MAX_POSITION_EQUITY_BPS] = 0, 0
  if min(adv, equity) < ABSENT or min(unpack(limits)) < 0 then
    error('DAMAGED a limit is missing')
  end
  limits[MAX_ORDER_ADV_BPS], limits[MAX_POSITION_EQUITY_BPS] = adv, equity
  return limits
end

-- The limits of one symbol: order in shares and 1/10,000 dollar, position in both.
local function own_limits(state, limits)
  local order_shares, order_ticks, shares, ticks = state[OWN_MAX_ORDER_SHARES], state[OWN_MAX_ORDER_NOTIONAL],
    state[OWN_MAX_POSITION_SHARES], state[OWN_MAX_POSITION_NOTIONAL]
  return order_shares < 0 and limits[MAX_ORDER_SHARES] or order_shares,
    order_ticks < 0 and limits[MAX_ORDER_NOTIONAL] or order_ticks,
    shares < 0 and limits[MAX_POSITION_SHARES] or shares,
    ticks < 0 and limits[MAX_POSITION_NOTIONAL] or ticks
end

local function over_limit(totals, limits)
  return totals[SYMBOLS_OVER] > 0 or totals[GROSS] > limits[MAX_GROSS_NOTIONAL]
    or totals[LONG] > limits[MAX_LONG_NOTIONAL] or totals[SHORT] > limits[MAX_SHORT_NOTIONAL]
    or totals[NET_HIGH] > limits[MAX_NET_NOTIONAL] or -totals[NET_LOW] > limits[MAX_NET_NOTIONAL]
end

local function limits_due(account, now)
  return account[LIMITS_UNTIL_MS] > 0 and account[LIMITS_UNTIL_MS] * 1000 <= now
end
