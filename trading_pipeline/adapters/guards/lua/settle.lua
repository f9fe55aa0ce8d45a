-- Writes a symbol after a fill or an end of one of its orders.

-- The symbol and the limits it is held to, with changes of limits that are due made first.
local function open_symbol(account, symbol)
  local now = now_us()
  if limits_due(account, now) then
    refresh_limits(account, now)
  end
  local field = 'symbol:' .. symbol
  local raw = call('HMGET', BOOK, field, 'limits')
  local state = read_symbol(field, raw[1])
  local long, short = worst_case(field, state, account[GROSS])
  return {field = field, state = state, long = long, short = short, mark = state[MARK], limits = read_limits(raw[2])}
end

-- Takes a part of an order out of what is pending. With nothing pending on a side, no price of it counts any more.
local function release(state, side, shares, nanos)
  local at, nanos_at, price_at = PENDING_BUY, PENDING_BUY_NANOS, HIGHEST_BUY
  if side == SELL then
    at, nanos_at, price_at = PENDING_SELL, PENDING_SELL_NANOS, LOWEST_SELL
  end
  state[at], state[nanos_at] = subtract(state[at], state[nanos_at], shares, nanos)
  if state[at] < 0 then
    error('DAMAGED less is pending than an order holds')
  end
  if state[at] == 0 and state[nanos_at] == 0 then
    state[price_at] = 0
  end
end

local function commit_symbol(account, read, ...)
  retotal(account, read.long, read.short, read.mark, read.state, position_limits(read.state, read.limits))
  return commit(account, read.field, symbol_text(read.state), ...)
end
