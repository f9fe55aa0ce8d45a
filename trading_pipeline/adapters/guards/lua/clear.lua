-- Judges one order and, on a yes, reserves its exposure. A refusal writes nothing. First failure wins.
-- ARGV: the request as words, '-' for what is not known; one text, because many values cost a client more to send than
-- this to read. Reply: code, observed, limit, epoch and sequence of the book, sequence of the clearance, milliseconds to
-- wait, detail; one text as well.
-- The pattern lets nothing but digits be a number, so that each is whole; known() and the checks below it bound them.
local id, digest, symbol, side, session, flatten, qty_text, price, age, adv, equity, limit_text, repeated, epoch,
  min_sequence, strategy = string.match(ARGV[1],
    '^(%S+) (%S+) (%S+) (%S+) (%S+) ([01]) (%d+) (%-?%d*) (%-?%d*) (%-?%d*) (%-?%d*) (%-?%d*) (%d+) (%d+) (%d+) (.+)$')
local function known(text, least)
  local number = tonumber(text)
  if number and number >= least and number < EXACT then
    return number
  elseif text ~= '-' then
    error('DAMAGED request: ' .. tostring(ARGV[1]))
  end
end
if side ~= 'buy' and side ~= 'sell' then
  error('DAMAGED request: ' .. tostring(ARGV[1]))
end
local qty, epoch, min_sequence = known(qty_text, 1), known(epoch, 0), known(min_sequence, 0)
local price, age, adv, equity = known(price, 1), known(age, 0), known(adv, 0), known(equity, 1 - EXACT)
local limit_price = known(limit_text, 1)
repeated, flatten = known(repeated, 0) > 0, flatten == '1'

-- Few wide calls: each one costs more than the work between them.
local of_symbol, of_order, of_session = 'symbol:' .. symbol, 'order:' .. id, 'session:' .. session
local of_intent = 'intent:' .. session .. '|' .. symbol .. '|' .. side .. '|' .. qty_text .. '|' .. strategy
local function read_book()
  return redis.call('HMGET', BOOK, 'epoch', 'sequence', 'kill_switch', 'breaker', 'quiet_until_ms', 'gate', 'totals',
    'rate', 'limits', 'limits_until_ms', of_symbol, 'limits:' .. symbol, 'blocked:' .. symbol, 'quarantined:' .. symbol,
    of_order, of_session, of_intent)
end
local book, history = read_book(), redis.call('HMGET', HISTORY, 'epoch', of_order)
if not book[1] or history[1] ~= book[1] then
  return MISSING .. ' - - - - - - rebuild the book from ledger and broker'
end

local book_epoch, sequence = whole(book[1], 'epoch'), whole(book[2], 'sequence')
local function figure(number)
  return number and format('%d', max(min(number, EXACT), -EXACT)) or '-'
end
local function verdict(code, observed, limit, detail, wait_ms, clearance)
  return table.concat({code, figure(observed), figure(limit), book[1], figure(sequence), figure(clearance),
    figure(wait_ms), detail or ''}, ' ')
end
local function because(code, reason_field)
  return verdict(code, nil, nil, redis.call('HGET', BOOK, reason_field) or '')
end

if book_epoch ~= epoch then
  return verdict(STALE, book_epoch, epoch, 'the book is of another epoch: rebuild it')
end
if sequence < min_sequence then
  return verdict(STALE, sequence, min_sequence, 'the book has lost writes the ledger has seen: rebuild it')
end

local now = now_us()
if limits_due(book[10], now) then
  refresh_limits(now)
  book = read_book()
end
local limits, totals, state = read_limits(book[9]), whole_list(book[7], 6, 'totals'),
  decode_symbol(book[11])

local held = book[15] and read_order(book[15])
local asks = qty
if held then
  if held.digest ~= digest or held.symbol ~= symbol or held.side ~= side or held.qty ~= qty
    or held.limit_price ~= limit_text then
    return verdict('conflict', nil, nil, 'the id holds a reservation for another payload')
  end
  -- A halt is judged on a repeated order as well: what it still holds is pending, and it asks for nothing more.
  asks = 0
elseif history[2] then
  return verdict('ended', nil, nil, 'the order is over: it ended at sequence ' .. history[2])
end

local reducing = reduces(state, side, asks)
if flatten and not reducing then
  return verdict('not_reducing', state[1], 0, 'a flatten must bring the position nearer to zero')
end
local trading, cause = trading_state(book[3], breaker_now(book[4], book[5], now), book[6], over_limit(totals, limits))
if trading == 'halted' and not flatten then
  return because(cause, 'kill_switch_reason')
elseif trading == 'reducing' and not reducing then
  if cause == 'quiet_period' then
    return verdict(cause, nil, nil, redis.call('HGET', BOOK, 'breaker_reason'),
      math.ceil(whole(book[5], 'quiet_until_ms') - now / 1000))
  elseif cause == 'limit_breached' then
    return verdict(cause, nil, nil, totals[6] > 0 and totals[6] .. ' symbol(s) over a position limit'
      or 'the account is over an exposure limit')
  end
  return because(cause, cause == 'gate_closed' and 'gate_reason' or 'breaker_reason')
end
if book[13] and not flatten then
  return verdict('symbol_blocked', nil, nil, symbol)
end
if book[14] and not flatten then
  local ends = whole(book[14], 'quarantined')
  if ends == 0 or now < ends * 1000 then
    return verdict('symbol_quarantined', nil, nil, symbol, ends > 0 and math.ceil(ends - now / 1000) or nil)
  end
end
if held then
  return verdict('cleared', nil, nil, 'reserved before', nil, held.sequence)
end

-- A flatten is proven to reduce: no check but those of price and exactness may keep a person from getting out.
local window = limits[DUPLICATE_WINDOW_SECONDS] * 1000000
if book[17] and not repeated and not flatten then
  local at, other = string.match(book[17], '^(%S+) (%S+)$')
  local since = max(now - whole(at, 'intent'), 0)
  if since < window then
    return verdict('duplicate_intent', math.floor(since / 1000), window / 1000, 'order ' .. other
      .. ' asked for the same; a wanted repeat carries its number', math.ceil((window - since) / 1000))
  end
end

-- Token buckets in tokens x period: whole numbers whatever the limit. A clock that went back refills nothing.
local SECOND, MINUTE = 1000000, 60000000
local a_second, a_minute = limits[MAX_ORDERS_PER_SECOND], limits[MAX_ORDERS_PER_MINUTE]
local level_second, level_minute = a_second * SECOND, a_minute * MINUTE
if book[8] then
  local rate = whole_list(book[8], 3, 'rate')
  local elapsed = max(now - rate[1], 0)
  level_second = min(level_second, rate[2] + min(elapsed, SECOND) * a_second)
  level_minute = min(level_minute, rate[3] + min(elapsed, MINUTE) * a_minute)
end
if not flatten then
  local function throttled(code, level, period, limit)
    if level < period then
      return verdict(code, math.floor((limit * period - level) / period) + 1, limit, nil,
        limit > 0 and math.ceil((period - level) / limit / 1000) or nil)
    end
  end
  local wait = throttled('orders_per_second', level_second, SECOND, a_second)
    or throttled('orders_per_minute', level_minute, MINUTE, a_minute)
  if wait then
    return wait
  end
end

local max_order_shares, max_order_ticks, max_shares, max_ticks = own_limits(book[12], limits)
local function refusal(code, observed, limit, waived)
  if not (observed < EXACT) or not (observed <= limit or waived) then
    return verdict(code, observed, limit)
  end
end
local function share(of, bps) -- of * bps / 10000, rounded down, without leaving the exact numbers
  return math.floor(of / 10000) * bps + math.floor((of % 10000) * bps / 10000)
end

local refused = refusal('order_shares', qty, max_order_shares, flatten)
if refused then
  return refused
end
if not price and flatten and state[7] > 0 then
  price = state[7]
elseif not price then
  return verdict('reference_missing', nil, nil, 'no price to judge the order at')
end
local notional = qty * max(price, limit_price or 0)
refused = refusal('order_notional', notional, max_order_ticks, flatten)
if refused then
  return refused
end
if not flatten and not age then
  return verdict('reference_stale', nil, nil, 'the age of the price is not known')
end
refused = refusal('reference_stale', age or 0, limits[MAX_REFERENCE_AGE_SECONDS], flatten)
if not refused and limit_price then
  refused = refusal('price_collar', math.abs(limit_price - price), share(price, limits[PRICE_COLLAR_BPS]))
end
if not refused and not flatten and limits[MAX_ORDER_ADV_BPS] ~= null then
  if not adv then
    return verdict('adv_missing', nil, nil, 'no average volume to judge the order by')
  end
  refused = refusal('order_adv', qty, share(adv, limits[MAX_ORDER_ADV_BPS]))
end
if refused then
  return refused
end

local old_long, old_short = worst_case(state)
local old_mark, own = state[7], side == 'buy' and 3 or 5
state[own], state[7] = state[own] + qty, price
-- The nearest and farthest prices of pending orders; an order at any price reaches every other one.
local reach = limit_price or (side == 'buy' and ANY_PRICE or 1)
local crossed = 0
if side == 'buy' then
  crossed = (state[9] > 0 and reach >= state[9]) and ceiling(state[5], state[6]) or 0
  state[8] = max(state[8], reach)
else
  crossed = (state[8] > 0 and reach <= state[8]) and ceiling(state[3], state[4]) or 0
  state[9] = state[9] > 0 and min(state[9], reach) or reach
end
retotal(totals, old_long, old_short, old_mark, state, max_shares, max_ticks)
local long, short = worst_case(state)
local after = side == 'buy' and long or short

-- A reducing order ends on the far side of no position limit; of the others it may, if they were lowered.
refused = refusal('position_shares', after, max_shares) or refusal('position_notional', after * price, max_ticks)
if not refused and limits[MAX_POSITION_EQUITY_BPS] ~= null and not reducing then
  if not equity then
    return verdict('equity_missing', nil, nil, 'no equity to judge the position by')
  end
  refused = refusal('position_equity', after * price, share(equity, limits[MAX_POSITION_EQUITY_BPS]))
end
local counts = book[16] and whole_list(book[16], 2, of_session) or {0, 0}
local orders, traded = counts[1] + 1, counts[2] + notional
refused = refused
  or refusal('gross_notional', totals[1], limits[MAX_GROSS_NOTIONAL], reducing)
  or refusal('long_notional', totals[2], limits[MAX_LONG_NOTIONAL], reducing)
  or refusal('short_notional', totals[3], limits[MAX_SHORT_NOTIONAL], reducing)
  or refusal('net_notional', max(totals[4], -totals[5]), limits[MAX_NET_NOTIONAL], reducing)
  or refusal('orders_per_session', orders, limits[MAX_ORDERS_PER_SESSION], flatten)
  or refusal('notional_per_session', traded, limits[MAX_NOTIONAL_PER_SESSION], flatten)
  or refusal('self_match', crossed, limits[MAX_SELF_MATCH_SHARES], flatten)
if refused then
  return refused
end

if not book[16] then -- the first order of a session: forget the intents of earlier ones
  for _, field in ipairs(redis.call('HKEYS', BOOK)) do
    if string.match(field, '^intent:') then
      local at = string.match(redis.call('HGET', BOOK, field), '^(%S+)')
      if now - whole(at, 'intent') >= window then
        redis.call('HDEL', BOOK, field)
      end
    end
  end
end
sequence = whole(sequence + 1, 'sequence')
local sequence_text = format('%d', sequence)
redis.call('HSET', BOOK, 'sequence', sequence_text, 'totals', encode_totals(totals),
  'rate', format('[%d,%d,%d]', now, max(level_second - SECOND, 0), max(level_minute - MINUTE, 0)),
  of_symbol, encode_symbol(state), of_session, format('[%d,%d]', orders, traded),
  of_intent, format('%d %s', now, id),
  of_order, order_text({symbol = symbol, side = side, qty = qty, remaining = qty, nanos = 0, sequence = sequence,
    session = session, price = max(price, limit_price or 0), limit_price = limit_text, digest = digest}))
return 'cleared - - ' .. book[1] .. ' ' .. sequence_text .. ' ' .. sequence_text .. ' - ' -- as verdict() writes it
