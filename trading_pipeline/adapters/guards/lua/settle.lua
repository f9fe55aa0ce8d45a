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
  local long, short = worst_case(state)
  return {field = field, state = state, long = long, short = short, mark = state[MARK], limits = read_limits(raw[2])}
end

-- Takes a part of an order out of what is pending. With nothing pending on a side, no price of it counts any more.
local function release(state, side, shares, nanos)
  local at = side == 'buy' and PENDING_BUY or PENDING_SELL
  state[at], state[at + 1] = subtract(state[at], state[at + 1], shares, nanos)
  if state[at] < 0 then
    error('DAMAGED less is pending than an order holds')
  end
  if state[at] == 0 and state[at + 1] == 0 then
    state[side == 'buy' and HIGHEST_BUY or LOWEST_SELL] = 0
  end
end

local function commit_symbol(account, read, ...)
  local _, _, max_shares, max_ticks = own_limits(read.state, read.limits)
  retotal(account, read.long, read.short, read.mark, read.state, max_shares, max_ticks)
  return commit(account, read.field, symbol_text(read.state), ...)
end
