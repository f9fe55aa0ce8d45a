-- What the book holds of one symbol, and what it adds to the totals of the account.

local function read_symbol(name, text)
  if not text then
    return {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ABSENT, ABSENT, ABSENT, ABSENT, ABSENT}
  end
  local state = read_record(name, text, SYMBOL_STRUCT, SYMBOL_SIZE, SYMBOL_TAG)
  if min(state[PENDING_BUY], state[PENDING_SELL], state[MARK], state[HIGHEST_BUY], state[LOWEST_SELL]) < 0
    or min(unpack(state, QUARANTINED_UNTIL_MS)) < ABSENT
    or max(state[POSITION_NANOS], state[PENDING_BUY_NANOS], state[PENDING_SELL_NANOS]) >= NANOS then
    error('DAMAGED ' .. name .. ' holds what no symbol can')
  end
  return state
end

local function symbol_text(state)
  return packed(SYMBOL_STRUCT, SYMBOL_TAG, unpack(state, 1, SYMBOL_COUNT))
end

-- Shares in the worst case, rounded away from zero: long (all buys fill) and short (all sells fill). The net of the
-- symbol lies between -short and long; the larger of the two is the gross.
local function worst_case(state)
  local shares, nanos = state[POSITION], state[POSITION_NANOS]
  local long = ceiling(add(shares, nanos, state[PENDING_BUY], state[PENDING_BUY_NANOS]))
  local low = subtract(shares, nanos, state[PENDING_SELL], state[PENDING_SELL_NANOS]) -- rounded down already
  return long, -low
end

-- Replaces what a symbol added to the totals by what it adds now, and marks it as over its limits or not.
local function retotal(totals, long, short, mark, new, max_shares, max_ticks)
  local old_long, old_short, old_mark, was_over = long, short, mark, new[OVER_LIMIT]
  long, short = worst_case(new)
  mark = new[MARK]
  local worst, old_worst = max(long, short), max(old_long, old_short)
  totals[GROSS] = totals[GROSS] + worst * mark - old_worst * old_mark
  totals[LONG] = totals[LONG] + max(long, 0) * mark - max(old_long, 0) * old_mark
  totals[SHORT] = totals[SHORT] + max(short, 0) * mark - max(old_short, 0) * old_mark
  totals[NET_HIGH] = totals[NET_HIGH] + long * mark - old_long * old_mark
  totals[NET_LOW] = totals[NET_LOW] - short * mark + old_short * old_mark
  local over = (worst > max_shares or worst * mark > max_ticks) and 1 or 0
  new[OVER_LIMIT] = over
  totals[SYMBOLS_OVER] = totals[SYMBOLS_OVER] + over - was_over
  return long, short
end

-- A reducing order brings the position nearer to zero and cannot cross it, pending orders counted.
local function reduces(state, side, qty)
  local shares, nanos = state[POSITION], state[POSITION_NANOS]
  if side == 'buy' then
    if shares >= 0 then
      return false
    end
    shares, nanos = add(shares, nanos, state[PENDING_BUY] + qty, state[PENDING_BUY_NANOS])
    return shares < 0 or (shares == 0 and nanos == 0)
  end
  if shares < 0 or (shares == 0 and nanos == 0) then
    return false
  end
  shares = subtract(shares, nanos, state[PENDING_SELL] + qty, state[PENDING_SELL_NANOS])
  return shares >= 0
end
