-- What the book holds of one symbol, and what it adds to the totals of the account.
-- `symbol:S` is a list: position, pending buys and pending sells, each as shares and billionths; mark; highest price of
-- a pending buy and lowest of a pending sell, 0 without one; 1 when the symbol is over a limit of its own.
-- `totals` is a list: gross, long, short, highest and lowest net, all worst case in 1/10,000 dollar; symbols over a limit.
local FLAT, NO_TOTALS = '[0,0,0,0,0,0,0,0,0,0]', '[0,0,0,0,0,0]'
local ANY_PRICE = EXACT - 1 -- what a market buy may pay

local function decode_symbol(text)
  return whole_list(text or FLAT, 10, 'symbol')
end

local function encode_symbol(state)
  return format('[%d,%d,%d,%d,%d,%d,%d,%d,%d,%d]', whole(state[1], 'position'), state[2], state[3], state[4],
    state[5], state[6], state[7], state[8], state[9], state[10])
end

-- Shares in the worst case, rounded away from zero: long (all buys fill) and short (all sells fill). The net of the
-- symbol lies between -short and long; the larger of the two is the gross.
local function worst_case(state)
  local long = ceiling(add(state[1], state[2], state[3], state[4]))
  local low = subtract(state[1], state[2], state[5], state[6]) -- rounded down already
  return long, -low
end

-- Replaces what a symbol added to the totals by what it adds now, and marks it as over its limits or not.
local function retotal(totals, long, short, mark, new, max_shares, max_ticks)
  local old_long, old_short, old_mark, was_over = long, short, mark, new[10]
  long, short = worst_case(new)
  mark = new[7]
  local worst, old_worst = max(long, short), max(old_long, old_short)
  totals[1] = totals[1] + worst * mark - old_worst * old_mark
  totals[2] = totals[2] + max(long, 0) * mark - max(old_long, 0) * old_mark
  totals[3] = totals[3] + max(short, 0) * mark - max(old_short, 0) * old_mark
  totals[4] = totals[4] + long * mark - old_long * old_mark
  totals[5] = totals[5] - short * mark + old_short * old_mark
  new[10] = (worst > max_shares or worst * mark > max_ticks) and 1 or 0
  totals[6] = totals[6] + new[10] - was_over
end

local function encode_totals(totals)
  for at = 1, 6 do
    local total = totals[at]
    if not (total < EXACT and total > -EXACT) then -- nan fails as well
      error('DAMAGED totals beyond 2^53')
    end
  end
  return format('[%d,%d,%d,%d,%d,%d]', unpack(totals))
end

-- A reducing order brings the position nearer to zero and cannot cross it, pending orders counted.
local function reduces(state, side, qty)
  local shares, nanos = state[1], state[2]
  if side == 'buy' then
    if shares >= 0 then
      return false
    end
    shares, nanos = add(shares, nanos, state[3] + qty, state[4])
    return shares < 0 or (shares == 0 and nanos == 0)
  end
  if shares < 0 or (shares == 0 and nanos == 0) then
    return false
  end
  shares = subtract(shares, nanos, state[5] + qty, state[6])
  return shares >= 0
end
