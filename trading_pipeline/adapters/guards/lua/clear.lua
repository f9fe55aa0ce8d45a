-- Judges one order and, on a yes, reserves its exposure. A refusal writes nothing. First failure wins.
-- ARGV: the request as words; one text, because many values cost a client more to send than this to read. A figure that
-- is not known is ?, the limit price of an order at any price is *. Reply: code, observed, limit, epoch and sequence of
-- the book, sequence of the clearance, milliseconds to wait, detail; one text as well, - for what there is none of.
-- What is needed only now and then is included where it is needed: every function made costs every order.
local epoch_text, sequence = '-', nil

-- Returns code, observed, limit, detail, milliseconds to wait, sequence of the clearance.
local function judge()
  -- The pattern lets nothing but digits be a number, so that each is whole; what follows bounds them. A word has neither
  -- spaces nor control characters, and a session is a date: another name of it would begin its counts at nothing.
  local id, digest, symbol, side, session, flatten, qty_text, price_text, age, adv, equity, limit_text, repeated, epoch,
    min_sequence, strategy = string.match(ARGV[1], '^([^ %c]+) ([^ %c]+) ([^ %c]+) (%l+) (%d%d%d%d%-%d%d%-%d%d) ([01]) '
      .. '(%d+) ([%d?]+) ([%d?]+) ([%d?]+) (%-?[%d?]+) ([%d*]+) (%d+) (%d+) (%d+) ([^ %c][^%c]*)$')
  if side ~= 'buy' and side ~= 'sell' then
    error('DAMAGED request: ' .. tostring(ARGV[1]))
  end
  local price, limit_price = price_text ~= '?' and price_text + 0, limit_text ~= '*' and limit_text + 0
  local qty, epoch, min_sequence = qty_text + 0, epoch + 0, min_sequence + 0
  age, adv, equity = age ~= '?' and age + 0, adv ~= '?' and adv + 0, equity ~= '?' and equity + 0
  repeated, flatten = repeated + 0, flatten == '1'
  if min(qty, price or 1, limit_price or 1) < 1 or (equity or 0) <= -EXACT
    or max(qty, price or 0, limit_price or 0, age or 0, adv or 0, equity or 0, repeated, epoch, min_sequence) >= EXACT then
    error('DAMAGED request: ' .. ARGV[1])
  end

  -- Few wide calls: each one costs more than the work between them.
  local of_symbol, of_order, of_session = 'symbol:' .. symbol, 'order:' .. id, 'session:' .. session
  local of_intent = 'intent:' .. session .. '|' .. symbol .. '|' .. side .. '|' .. qty_text .. '|' .. strategy
  local book = call('HMGET', BOOK, 'account', 'limits', of_symbol, of_order, of_session, of_intent)
  local history = call('HMGET', HISTORY, 'epoch', of_order)
  if not book[1] or string.byte(book[1]) ~= ACCOUNT_TAG then
    return MISSING, nil, nil, 'rebuild the book from ledger and broker: there is none of this format'
  end
  local account = read_account(book[1])
  local history_epoch = format('%d', account[EPOCH])
  if history[1] ~= history_epoch then
    return MISSING, nil, nil, 'rebuild the book from ledger and broker: half of it is gone'
  end

  epoch_text, sequence = history_epoch, account[SEQUENCE]
  if account[EPOCH] ~= epoch then
    return STALE, account[EPOCH], epoch, 'the book is of another epoch: rebuild it'
  end
  if sequence < min_sequence then
    return STALE, sequence, min_sequence, 'the book has lost writes the ledger has seen: rebuild it'
  end

  local now = now_us()
  if limits_due(account, now) then
    --@ numbers
    --@ refresh
    refresh_limits(account, now)
    book[2], book[3] = unpack(call('HMGET', BOOK, 'limits', of_symbol))
  end
  local limits, state = read_limits(book[2]), read_symbol(of_symbol, book[3])

  -- No symbol is worth more than the gross of the account: the bits of -nan or -inf would be a short to be bought back.
  local old_long, old_short = worst_case(state)
  if max(old_long, old_short) * state[MARK] > account[GROSS] then
    error('DAMAGED ' .. of_symbol .. ' holds more than the account')
  end

  local asks, held_since = qty, nil
  if book[4] then
    --@ numbers
    --@ orders
    local held = read_order(book[4])
    if held.digest ~= digest or held.symbol ~= symbol or held.side ~= side or held.qty ~= qty
      or held.limit_price ~= limit_text then
      return 'conflict', nil, nil, 'the id holds a reservation for another payload'
    end
    -- A halt is judged on a repeated order as well: what it still holds is pending, and it asks for nothing more.
    asks, held_since = 0, held.sequence
  elseif history[2] then
    return 'ended', nil, nil, 'the order is over: it ended at sequence ' .. history[2]
  end

  local reducing = reduces(state, side, asks)
  if flatten and not reducing then
    return 'not_reducing', state[POSITION], 0, 'a flatten must bring the position nearer to zero'
  end
  local trading, cause = trading_state(account, breaker_now(account, now), over_limit(account, limits))
  if trading == 'halted' and not flatten then
    return cause, nil, nil, call('HGET', BOOK, 'kill_switch_reason')
  elseif trading == 'reducing' and not reducing then
    if cause == 'quiet_period' then
      return cause, nil, nil, call('HGET', BOOK, 'breaker_reason'),
        ceil(account[QUIET_UNTIL_MS] - now / 1000)
    elseif cause == 'limit_breached' then
      return cause, nil, nil, account[SYMBOLS_OVER] > 0 and account[SYMBOLS_OVER]
        .. ' symbol(s) over a position limit' or 'the account is over an exposure limit'
    end
    return cause, nil, nil, call('HGET', BOOK, cause == 'gate_closed' and 'gate_reason' or 'breaker_reason')
  end
  if state[BLOCKED] ~= 0 and not flatten then
    return 'symbol_blocked', nil, nil, symbol
  end
  if state[QUARANTINED_UNTIL_MS] ~= ABSENT and not flatten then
    local ends = state[QUARANTINED_UNTIL_MS]
    if ends <= 0 or now < ends * 1000 then
      return 'symbol_quarantined', nil, nil, symbol, ends > 0 and ceil(ends - now / 1000) or nil
    end
  end
  if held_since then
    return 'cleared', nil, nil, 'reserved before', nil, held_since
  end

  -- A flatten is proven to reduce: no check but those of price and exactness may keep a person from getting out.
  local window = limits[DUPLICATE_WINDOW_SECONDS] * 1000000
  if book[6] and repeated == 0 and not flatten then
    --@ numbers
    local at, other = string.match(book[6], '^(%S+) (%S+)$')
    local since = max(now - whole(at, 'intent'), 0)
    if since < window then
      return 'duplicate_intent', floor(since / 1000), window / 1000, 'order ' .. other
        .. ' asked for the same; a wanted repeat carries its number', ceil((window - since) / 1000)
    end
  end

  -- Token buckets in tokens x period: whole numbers whatever the limit. A clock that went back refills nothing.
  local SECOND, MINUTE = 1000000, 60000000
  local a_second, a_minute = limits[MAX_ORDERS_PER_SECOND], limits[MAX_ORDERS_PER_MINUTE]
  local level_second, level_minute = a_second * SECOND, a_minute * MINUTE
  if account[RATE_AT_US] > 0 then
    local elapsed = max(now - account[RATE_AT_US], 0)
    level_second = min(level_second, account[RATE_SECOND] + min(elapsed, SECOND) * a_second)
    level_minute = min(level_minute, account[RATE_MINUTE] + min(elapsed, MINUTE) * a_minute)
  end
  if not flatten then
    local code, level, period, limit
    if level_second < SECOND then
      code, level, period, limit = 'orders_per_second', level_second, SECOND, a_second
    elseif level_minute < MINUTE then
      code, level, period, limit = 'orders_per_minute', level_minute, MINUTE, a_minute
    end
    if code then
      return code, floor((limit * period - level) / period) + 1, limit, nil,
        limit > 0 and ceil((period - level) / limit / 1000) or nil
    end
  end

  local max_order_shares, max_order_ticks, max_shares, max_ticks = own_limits(state, limits)
  -- A check that is waived still wants numbers that are exact.
  if qty > max_order_shares and not flatten then
    return 'order_shares', qty, max_order_shares
  end
  if not price and flatten and state[MARK] > 0 then
    price = state[MARK]
  elseif not price then
    return 'reference_missing', nil, nil, 'no price to judge the order at'
  end
  local judged_at = max(price, limit_price or 0)
  local notional = qty * judged_at
  if not (notional <= max_order_ticks or flatten and notional < EXACT) then
    return 'order_notional', notional, max_order_ticks
  end
  if not flatten then
    if not age then
      return 'reference_stale', nil, nil, 'the age of the price is not known'
    elseif age > limits[MAX_REFERENCE_AGE_SECONDS] then
      return 'reference_stale', age, limits[MAX_REFERENCE_AGE_SECONDS]
    end
  end
  if limit_price then
    local distance, farthest = math.abs(limit_price - price), share(price, limits[PRICE_COLLAR_BPS])
    if distance > farthest then
      return 'price_collar', distance, farthest
    end
  end
  if not flatten and limits[MAX_ORDER_ADV_BPS] ~= ABSENT then
    if not adv then
      return 'adv_missing', nil, nil, 'no average volume to judge the order by'
    end
    local most = share(adv, limits[MAX_ORDER_ADV_BPS])
    if qty > most then
      return 'order_adv', qty, most
    end
  end

  local old_mark, own = state[MARK], side == 'buy' and PENDING_BUY or PENDING_SELL
  state[own], state[MARK] = state[own] + qty, price
  -- The nearest and farthest prices of pending orders; an order at any price reaches every other one.
  local crossed = 0
  if side == 'buy' then
    local reach = limit_price or EXACT - 1
    if state[LOWEST_SELL] > 0 and reach >= state[LOWEST_SELL] then
      crossed = ceiling(state[PENDING_SELL], state[PENDING_SELL_NANOS])
    end
    state[HIGHEST_BUY] = max(state[HIGHEST_BUY], reach)
  else
    local reach = limit_price or 1
    if state[HIGHEST_BUY] > 0 and reach <= state[HIGHEST_BUY] then
      crossed = ceiling(state[PENDING_BUY], state[PENDING_BUY_NANOS])
    end
    state[LOWEST_SELL] = state[LOWEST_SELL] > 0 and min(state[LOWEST_SELL], reach) or reach
  end
  local long, short = retotal(account, old_long, old_short, old_mark, state, max_shares, max_ticks)
  local after = side == 'buy' and long or short

  -- A reducing order ends on the far side of no position limit; of the others it may, if they were lowered.
  if not (after <= max_shares) then
    return 'position_shares', after, max_shares
  end
  if not (after * price <= max_ticks) then
    return 'position_notional', after * price, max_ticks
  end
  if limits[MAX_POSITION_EQUITY_BPS] ~= ABSENT and not reducing then
    if not equity then
      return 'equity_missing', nil, nil, 'no equity to judge the position by'
    end
    local most = share(equity, limits[MAX_POSITION_EQUITY_BPS])
    if not (after * price <= most) then
      return 'position_equity', after * price, most
    end
  end
  local net = max(account[NET_HIGH], -account[NET_LOW])
  if not (account[GROSS] <= limits[MAX_GROSS_NOTIONAL] or reducing and account[GROSS] < EXACT) then
    return 'gross_notional', account[GROSS], limits[MAX_GROSS_NOTIONAL]
  end
  if not (account[LONG] <= limits[MAX_LONG_NOTIONAL] or reducing) then
    return 'long_notional', account[LONG], limits[MAX_LONG_NOTIONAL]
  end
  if not (account[SHORT] <= limits[MAX_SHORT_NOTIONAL] or reducing) then
    return 'short_notional', account[SHORT], limits[MAX_SHORT_NOTIONAL]
  end
  if not (net <= limits[MAX_NET_NOTIONAL] or reducing) then
    return 'net_notional', net, limits[MAX_NET_NOTIONAL]
  end
  local orders, traded = 0, 0
  if book[5] then
    orders, traded = read_counts(of_session, book[5])
  end
  orders, traded = orders + 1, traded + notional
  if not (orders <= limits[MAX_ORDERS_PER_SESSION] or flatten) then
    return 'orders_per_session', orders, limits[MAX_ORDERS_PER_SESSION]
  end
  if not (traded <= limits[MAX_NOTIONAL_PER_SESSION] or flatten and traded < EXACT) then
    return 'notional_per_session', traded, limits[MAX_NOTIONAL_PER_SESSION]
  end
  if not (crossed <= limits[MAX_SELF_MATCH_SHARES] or flatten) then
    return 'self_match', crossed, limits[MAX_SELF_MATCH_SHARES]
  end

  if not book[5] then -- the first order of a session: forget the intents of earlier ones
    --@ numbers
    for _, field in ipairs(call('HKEYS', BOOK)) do
      if string.match(field, '^intent:') then
        local at = string.match(call('HGET', BOOK, field), '^(%S+)')
        if now - whole(at, 'intent') >= window then
          call('HDEL', BOOK, field)
        end
      end
    end
  end
  sequence = sequence + 1
  account[SEQUENCE], account[RATE_AT_US] = sequence, now
  account[RATE_SECOND], account[RATE_MINUTE] = max(level_second - SECOND, 0), max(level_minute - MINUTE, 0)
  local judged_text = judged_at == price and price_text ~= '?' and price_text or format('%d', judged_at)
  -- The order as orders.lua writes and reads it.
  call('HSET', BOOK, 'account', account_text(account), of_symbol, symbol_text(state),
    of_session, packed(SESSION_STRUCT, SESSION_TAG, orders, traded), of_intent, format('%d ', now) .. id,
    of_order, symbol .. ' ' .. side .. ' ' .. qty_text .. ' ' .. qty_text .. ' 0 ' .. format('%d', sequence) .. ' '
      .. session .. ' ' .. judged_text .. ' ' .. limit_text .. ' ' .. digest)
  return 'cleared', nil, nil, nil, nil, sequence
end

local code, observed, limit, detail, wait_ms, clearance = judge()
local function figure(number)
  return number and format('%d', max(min(number, EXACT), -EXACT)) or '-'
end
return table.concat({code, figure(observed), figure(limit), epoch_text, figure(sequence), figure(clearance),
  figure(wait_ms), detail or ''}, ' ')
