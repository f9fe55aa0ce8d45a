-- Judges one order and, on a yes, reserves its exposure. A refusal writes nothing. First failure wins.
-- ARGV: a request with its payload, as records.py lays them out. Reply to a new yes: the sequence of its clearance, a
-- number. To all else a text: code, observed, limit, epoch and sequence of the book, sequence of the clearance,
-- milliseconds to wait, detail; - for what there is none of. Of an order that is reserved already, `observed` is the
-- price it is held at.
-- Every function and table that is made costs every order. So this goes straight on, in locals, and what is needed now
-- and then is included where it is needed.
local request = ARGV[1]
local request_tag, REQUEST_NUMBERS, payload_at = struct_unpack(REQUEST_STRUCT, request)
local payload_tag, PAYLOAD_NUMBERS, request_end = struct_unpack(PAYLOAD_STRUCT, request, payload_at)
if request_tag ~= REQUEST_TAG or payload_tag ~= PAYLOAD_TAG or request_end ~= #request + 1
  or REQUEST_DAMAGED or PAYLOAD_DAMAGED or qty == 0 or price == 0 or limit_price == 0
  or id == '' or strategy == '' or symbol == '' or digest == '' then
  error('BAD REQUEST of ' .. #request .. ' bytes, order ' .. id .. ' of ' .. session)
end
local payload = string.sub(request, payload_at)

-- Few wide calls: each one costs more than the work between them.
local of_symbol, of_order, of_session = 'symbol:' .. symbol, 'order:' .. id, 'session:' .. session
-- A duplicate has the same side, shares, session, symbol and strategy: what lies between limit price and
-- digest, which has a byte with its length before it.
local of_intent = 'intent:' .. string.sub(payload, PAYLOAD_SIDE_AT, -#digest - 2) .. strategy
local book = call('HMGET', BOOK, 'account', 'limits', of_symbol, of_order, of_session, of_intent)
local history = call('HMGET', HISTORY, 'epoch', of_order)
local text = book[1]
if not text or string.byte(text) ~= ACCOUNT_TAG then
  return MISSING .. ' - - - - - - rebuild the book from ledger and broker: there is none of this format'
end
--@ read_account
if not history[1] or history[1] + 0 ~= epoch then
  return MISSING .. ' - - - - - - rebuild the book from ledger and broker: half of it is gone'
end

local function refuse(code, observed, limit, detail, wait_ms, clearance)
  --@ library
  local function figure(number)
    return number and format('%d', max(min(number, EXACT), -EXACT)) or '-'
  end
  return table.concat({code, figure(observed), figure(limit), figure(epoch), figure(sequence), figure(clearance),
    figure(wait_ms), detail or ''}, ' ')
end
if epoch ~= known_epoch then
  return refuse(STALE, epoch, known_epoch, 'the book is of another epoch: rebuild it')
end
if sequence < min_sequence then
  return refuse(STALE, sequence, min_sequence, 'the book has lost writes the ledger has seen: rebuild it')
end

local now = now_us()
if limits_until_ms > 0 and limits_until_ms * 1000 <= now then
  --@ library
  --@ numbers
  --@ records
  --@ symbols
  --@ limits
  --@ refresh
  local account = {ACCOUNT_NUMBERS}
  refresh_limits(account, now)
  ACCOUNT_NUMBERS = unpack(account)
  book[2], book[3] = unpack(call('HMGET', BOOK, 'limits', of_symbol))
end
text = book[2]
--@ read_limits
local text, field = book[3], of_symbol
--@ read_symbol
--@ own_limits
--@ worst_case
--@ within_gross

local asks, held_since, held_at = qty, nil, nil
if book[4] then
  --@ library
  --@ orders
  local held = read_order(of_order, book[4])
  if held.payload ~= payload then
    return refuse('conflict', nil, nil, 'the id holds a reservation for another payload')
  end
  -- A halt is judged on a repeated order as well: what it still holds is pending, and it asks for nothing more.
  asks, held_since, held_at = 0, held.sequence, held.price
elseif history[2] then
  return refuse('ended', nil, nil, 'the order is over: it ended at sequence ' .. history[2])
end

-- A reducing order brings the position nearer to zero and cannot cross it, pending orders counted.
local reducing
if side == BUY then
  reducing = position < 0 and long_shares + asks <= 0
else
  reducing = (position > 0 or position == 0 and position_nanos > 0) and short_shares + asks <= 0
end
if flatten == 1 and not reducing then
  return refuse('not_reducing', position, 0, 'a flatten must bring the position nearer to zero')
end
local over_a_limit =
  --@ over
if kill_switch ~= DISENGAGED or breaker ~= OPEN or gate ~= OPEN or over_a_limit then
  --@ library
  --@ halts
  local account = {ACCOUNT_NUMBERS}
  local trading, cause = trading_state(account, breaker_now(account, now), over_a_limit)
  if trading == 'halted' and flatten == 0 then
    return refuse(cause, nil, nil, call('HGET', BOOK, 'kill_switch_reason'))
  elseif trading == 'reducing' and not reducing then
    if cause == 'quiet_period' then
      return refuse(cause, nil, nil, call('HGET', BOOK, 'breaker_reason'), ceil(quiet_until_ms - now / 1000))
    elseif cause == 'limit_breached' then
      return refuse(cause, nil, nil, symbols_over > 0 and symbols_over .. ' symbol(s) over a position limit'
        or 'the account is over an exposure limit')
    end
    return refuse(cause, nil, nil, call('HGET', BOOK, cause == 'gate_closed' and 'gate_reason' or 'breaker_reason'))
  end
end
if blocked ~= 0 and flatten == 0 then
  return refuse('symbol_blocked', nil, nil, symbol)
end
if quarantined_until_ms ~= ABSENT and flatten == 0 then
  local ends = quarantined_until_ms
  if ends == 0 or now < ends * 1000 then
    return refuse('symbol_quarantined', nil, nil, symbol, ends > 0 and math.ceil(ends - now / 1000) or nil)
  end
end
if held_since then
  return refuse('cleared', held_at, nil, 'reserved before', nil, held_since)
end

-- A flatten is proven to reduce: no check but those of price and exactness may keep a person from getting out.
local window = duplicate_window_seconds * 1000000
if book[6] and repeated == 0 and flatten == 0 then
  local text, field = book[6], of_intent
  --@ read_intent
  local since = math.max(now - at_us, 0)
  if since < window then
    return refuse('duplicate_intent', math.floor(since / 1000), window / 1000, 'order '
      .. string.sub(text, INTENT_SIZE + 1) .. ' asked for the same; a wanted repeat carries its number',
      math.ceil((window - since) / 1000))
  end
end

-- Token buckets in tokens x period: whole numbers whatever the limit. A clock that went back refills nothing.
local SECOND, MINUTE = 1000000, 60000000
local level_second, level_minute = max_orders_per_second * SECOND, max_orders_per_minute * MINUTE
if rate_at_us > 0 then
  local elapsed = now > rate_at_us and now - rate_at_us or 0
  local second = rate_second + (elapsed < SECOND and elapsed or SECOND) * max_orders_per_second
  local minute = rate_minute + (elapsed < MINUTE and elapsed or MINUTE) * max_orders_per_minute
  level_second = second < level_second and second or level_second
  level_minute = minute < level_minute and minute or level_minute
end
if (level_second < SECOND or level_minute < MINUTE) and flatten == 0 then
  local code, level, period, limit = 'orders_per_second', level_second, SECOND, max_orders_per_second
  if level_second >= SECOND then
    code, level, period, limit = 'orders_per_minute', level_minute, MINUTE, max_orders_per_minute
  end
  return refuse(code, math.floor((limit * period - level) / period) + 1, limit, nil,
    limit > 0 and math.ceil((period - level) / limit / 1000) or nil)
end

-- A check that is waived still wants numbers that are exact.
if qty > max_order_shares and flatten == 0 then
  return refuse('order_shares', qty, max_order_shares)
end
if price == ABSENT then
  if flatten == 0 or mark == 0 then
    return refuse('reference_missing', nil, nil, 'no price to judge the order at')
  end
  price = mark
end
local judged_at = limit_price > price and limit_price or price
local notional = qty * judged_at
if not (notional <= max_order_notional or flatten == 1 and notional < EXACT) then
  return refuse('order_notional', notional, max_order_notional)
end
if flatten == 0 then
  if age == ABSENT then
    return refuse('reference_stale', nil, nil, 'the age of the price is not known')
  elseif age > max_reference_age_seconds then
    return refuse('reference_stale', age, max_reference_age_seconds)
  end
end
if limit_price ~= ABSENT then
  local of, bps = price, price_collar_bps
  --@ share
  local distance = limit_price > price and limit_price - price or price - limit_price
  if distance > most then
    return refuse('price_collar', distance, most)
  end
end
if max_order_adv_bps ~= ABSENT and flatten == 0 then
  if adv == ABSENT then
    return refuse('adv_missing', nil, nil, 'no average volume to judge the order by')
  end
  local of, bps = adv, max_order_adv_bps
  --@ share
  if qty > most then
    return refuse('order_adv', qty, most)
  end
end

-- The nearest and farthest prices of pending orders; an order at any price reaches every other one.
local old_long_shares, old_short_shares, old_mark, crossed, after = long_shares, short_shares, mark, 0, nil
mark = price
if side == BUY then
  pending_buy, long_shares = pending_buy + qty, long_shares + qty
  after = long_shares
  local reach = limit_price == ABSENT and EXACT - 1 or limit_price
  if lowest_sell > 0 and reach >= lowest_sell then
    crossed = pending_sell_nanos > 0 and pending_sell + 1 or pending_sell
  end
  if reach > highest_buy then
    highest_buy = reach
  end
else
  pending_sell, short_shares = pending_sell + qty, short_shares + qty
  after = short_shares
  local reach = limit_price == ABSENT and 1 or limit_price
  if highest_buy > 0 and reach <= highest_buy then
    crossed = pending_buy_nanos > 0 and pending_buy + 1 or pending_buy
  end
  if lowest_sell == 0 or reach < lowest_sell then
    lowest_sell = reach
  end
end
--@ totals

-- A reducing order ends on the far side of no position limit; of the others it may, if they were lowered.
if not (after <= max_position_shares) then
  return refuse('position_shares', after, max_position_shares)
end
local value = after * price
if not (value <= max_position_notional) then
  return refuse('position_notional', value, max_position_notional)
end
if max_position_equity_bps ~= ABSENT and not reducing then
  if equity == UNKNOWN then
    return refuse('equity_missing', nil, nil, 'no equity to judge the position by')
  end
  local of, bps = equity, max_position_equity_bps
  --@ share
  if not (value <= most) then
    return refuse('position_equity', value, most)
  end
end
if not (gross <= max_gross_notional or reducing and gross < EXACT) then
  return refuse('gross_notional', gross, max_gross_notional)
end
if not (long <= max_long_notional or reducing) then
  return refuse('long_notional', long, max_long_notional)
end
if not (short <= max_short_notional or reducing) then
  return refuse('short_notional', short, max_short_notional)
end
local net = net_high > -net_low and net_high or -net_low
if not (net <= max_net_notional or reducing) then
  return refuse('net_notional', net, max_net_notional)
end
local orders, traded = 0, 0
if book[5] then
  local text, field = book[5], of_session
  --@ read_counts
end
orders, traded = orders + 1, traded + notional
if not (orders <= max_orders_per_session or flatten == 1) then
  return refuse('orders_per_session', orders, max_orders_per_session)
end
if not (traded <= max_notional_per_session or flatten == 1 and traded < EXACT) then
  return refuse('notional_per_session', traded, max_notional_per_session)
end
if not (crossed <= max_self_match_shares or flatten == 1) then
  return refuse('self_match', crossed, max_self_match_shares)
end

if not book[5] then
  --@ rollover
end
sequence = sequence + 1
rate_at_us, rate_second, rate_minute = now, level_second - SECOND, level_minute - MINUTE
if rate_second < 0 then
  rate_second = 0
end
if rate_minute < 0 then
  rate_minute = 0
end
-- What has grown may have left the exact numbers, and a total that was too small may have gone below zero; all else is
-- as it was read.
if not (sequence < EXACT and rate_second < EXACT and rate_minute < EXACT and pending_buy < EXACT and pending_sell < EXACT
  and gross < EXACT and orders < EXACT and traded < EXACT and long >= 0 and short >= 0 and symbols_over >= 0) then
  error('DAMAGED a number to be written is below zero or beyond 2^53')
end
call('HSET', BOOK, 'account', struct_pack(ACCOUNT_STRUCT, ACCOUNT_TAG, ACCOUNT_NUMBERS),
  of_symbol, struct_pack(SYMBOL_SHORT_STRUCT, SYMBOL_TAG, SYMBOL_SHORT_NUMBERS) .. symbol_rest,
  of_session, struct_pack(SESSION_STRUCT, SESSION_TAG, SESSION_NUMBERS),
  of_intent, struct_pack(INTENT_STRUCT, INTENT_TAG, now) .. id,
  of_order, struct_pack(ORDER_STRUCT, ORDER_TAG, qty, 0, sequence, judged_at) .. payload)
return sequence
