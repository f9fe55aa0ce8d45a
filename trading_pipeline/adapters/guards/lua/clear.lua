-- Judges one order and, on a yes, reserves its exposure. A refusal writes nothing. First failure wins.
-- Reply: code, observed, limit, epoch and sequence of the book, sequence of the clearance, detail; one text, with a
-- space between and '-' for nothing, because a reply of many values takes a client longer to read than this to run.
local id, digest, symbol, side, session, flatten = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6] == '1'
local qty, price = positive(ARGV[7], 'qty'), positive(ARGV[8], 'price')
local epoch, min_sequence = whole(ARGV[9], 'epoch'), whole(ARGV[10], 'min_sequence')

-- Few wide calls: each one costs more than the work between them.
local of_symbol, of_order, of_session = symbol_prefix(symbol), 'order:' .. id, 'session:' .. session
local book = redis.call('HMGET', BOOK,
  'epoch', 'sequence', 'kill_switch', 'kill_switch_reason', 'breaker', 'breaker_reason', 'quiet_until_ms',
  of_symbol .. 'position', of_symbol .. 'buy', of_symbol .. 'sell', of_symbol .. 'mark', of_symbol .. 'exposure',
  of_symbol .. 'blocked', of_order, of_session, 'gross_ticks',
  'max_order_shares', 'max_order_ticks', 'max_position_shares', 'max_position_ticks', 'max_gross_ticks',
  'max_orders_per_session')
local history = redis.call('HMGET', HISTORY, 'epoch', of_order)
if not book[1] or history[1] ~= book[1] then
  return MISSING .. ' - - - - - rebuild the book from ledger and broker'
end

local book_epoch, sequence = whole(book[1], 'epoch'), whole(book[2], 'sequence')
local function verdict(code, observed, limit, detail, clearance)
  local function figure(number)
    return number and string.format('%.0f', math.min(number, EXACT)) or '-'
  end
  return table.concat({code, figure(observed), figure(limit), figure(book_epoch), figure(sequence), figure(clearance),
    detail or ''}, ' ')
end

if book_epoch ~= epoch then
  return verdict('book_stale', book_epoch, epoch, 'the book is of another epoch: rebuild it')
end
if sequence < min_sequence then
  return verdict('book_stale', sequence, min_sequence, 'the book has lost writes the ledger has seen: rebuild it')
end

local state = symbol_state(unpack(book, 8, 12))
local held = book[14] and read_order(book[14])
if held then
  if held.digest ~= digest or held.symbol ~= symbol or held.side ~= side or held.qty ~= qty then
    return verdict('conflict', nil, nil, 'the id holds a reservation for another payload')
  end
  -- A halt is judged on a repeated order as well: what it still holds is pending, and it asks for nothing more.
  qty = 0
elseif history[2] then
  return verdict('ended', nil, nil, 'the order is over: it ended at sequence ' .. history[2])
end

local reducing = reduces(state, side, qty)
if flatten and not reducing then
  return verdict('not_reducing', state.position, 0, 'a flatten must bring the position nearer to zero')
end
if book[3] ~= 'disengaged' and not flatten then
  return verdict('kill_switch_engaged', nil, nil, book[4])
end
local breaker = breaker_now(book[5], book[7])
if breaker == 'quiet_period' and not reducing then
  return verdict('quiet_period', now_ms(), whole(book[7], 'quiet_until_ms'), book[6])
end
if breaker ~= 'open' and not reducing then
  return verdict('breaker_tripped', nil, nil, book[6])
end
if book[13] and not flatten then
  return verdict('symbol_blocked', nil, nil, symbol)
end
if held then
  return verdict('cleared', nil, nil, 'reserved before', held.sequence)
end

local after = side == 'buy' and state.position + state.buy + qty or state.sell + qty - state.position
state[side] = state[side] + qty
local exposure = worst_case(state) * price
local gross = whole(book[16], 'gross_ticks') - state.exposure + exposure
local orders = whole(book[15] or 0, of_session) + 1
-- A reducing order ends on the far side of no position limit; of the gross limit it may, if that was lowered.
local function refusal(code, observed, raw_limit, waived)
  local limit = whole(raw_limit, code)
  if observed >= EXACT or (observed > limit and not waived) then
    return verdict(code, observed, limit)
  end
end
-- A flatten is proven to reduce: neither its size nor the number of orders before it may keep a person from getting out.
local refused = refusal('order_shares', qty, book[17], flatten)
  or refusal('order_notional', qty * price, book[18], flatten)
  or refusal('position_shares', after, book[19])
  or refusal('position_notional', after * price, book[20])
  or refusal('gross_notional', gross, book[21], reducing)
  or refusal('orders_per_session', orders, book[22], flatten)
if refused then
  return refused
end

sequence = sequence + 1
redis.call('HSET', BOOK, 'sequence', sequence, 'gross_ticks', gross, of_session, orders,
  of_symbol .. side, state[side], of_symbol .. 'mark', price, of_symbol .. 'exposure', exposure,
  of_order, order_text({symbol = symbol, side = side, qty = qty, remaining = qty, sequence = sequence,
    session = session, digest = digest}))
return verdict('cleared', nil, nil, '', sequence)
