-- Writes a symbol after a fill or an end of one of its orders.

-- The symbol, the totals and the limits they are held to, with changes of limits that are due made first.
local function read_symbol(symbol)
  if limits_due(redis.call('HGET', BOOK, 'limits_until_ms'), now_us()) then
    refresh_limits(now_us())
  end
  local raw = redis.call('HMGET', BOOK, 'symbol:' .. symbol, 'totals', 'limits', 'limits:' .. symbol)
  local state = decode_symbol(raw[1])
  local long, short = worst_case(state)
  return {
    state = state, long = long, short = short, mark = state[7],
    totals = whole_list(raw[2], 6, 'totals'),
    limits = read_limits(raw[3]),
    own = raw[4],
  }
end

-- Takes a part of an order out of what is pending. With nothing pending on a side, no price of it counts any more.
local function release(state, side, shares, nanos)
  local at = side == 'buy' and 3 or 5
  state[at], state[at + 1] = subtract(state[at], state[at + 1], shares, nanos)
  if state[at] < 0 then
    error('DAMAGED less is pending than an order holds')
  end
  if state[at] == 0 and state[at + 1] == 0 then
    state[side == 'buy' and 8 or 9] = 0
  end
end

local function commit_symbol(sequence, symbol, read, ...)
  local _, _, max_shares, max_ticks = own_limits(read.own, read.limits)
  retotal(read.totals, read.long, read.short, read.mark, read.state, max_shares, max_ticks)
  return commit(sequence, 'symbol:' .. symbol, encode_symbol(read.state), 'totals', encode_totals(read.totals), ...)
end
