-- Judges the replacement of an order, which asks for no reservation of its own: the one its chain holds is taken out,
-- `clear` judges what the new order could still fill as any order, and then the larger of the two is held, for which of
-- them the broker works is unknown until it says so. A refusal puts back what was there. All in one step.
-- ARGV: a request with its payload under the id the chain holds its reservation by; how long the request is without its
-- payload; id of the new order; shares it asks for above those of the order it replaces, and below them, one of them 0;
-- epoch and sequence seen. Reply as that of `clear`.
local function judge()
  --@ clear
end
local header_size, more, less = whole(ARGV[2], 'header'), whole(ARGV[4], 'shares above'), whole(ARGV[5], 'shares below')
local request_tag, REQUEST_NUMBERS = struct_unpack(REQUEST_STRUCT, ARGV[1])
local of_order, settled = 'order:' .. id, 'settled:' .. ARGV[3]
local account = current_book(ARGV[6], ARGV[7])
if not account then
  return judge() -- it says what is wrong with the book before anything else
end
local header, payload = string.sub(ARGV[1], 1, header_size), string.sub(ARGV[1], header_size + 1)
local payload_tag, PAYLOAD_NUMBERS = struct_unpack(PAYLOAD_STRUCT, payload)
local function no(code, detail)
  return code .. ' - - ' .. format('%d %d', account[EPOCH], account[SEQUENCE]) .. ' - - ' .. detail
end
local text = call('HGET', BOOK, of_order)
if call('HEXISTS', HISTORY, settled) == 1 then
  return no('ended', 'the replacement is over')
elseif not text then
  return no('ended', 'nothing is reserved for the order it replaces: it is over')
end
local held = read_order(of_order, text)
if held.symbol ~= symbol or held.side ~= side then
  return no('conflict', 'it is of another symbol or side than the order it replaces')
elseif held.digest == digest then
  ARGV[1] = header .. held.payload
  return judge() -- reserved before: the halts are judged all the same
end
local asked, most, most_nanos = held.remaining + more - less, held.remaining, held.remaining_nanos
local old_price = held.price
if asked < 0 or asked == 0 and most_nanos == 0 then
  return no('ended', 'as many shares as it asks for are filled already')
end
if asked >= most then
  most = asked
end
local judged = most_nanos > 0 and asked + 1 or asked

local read = open_symbol(account, symbol) -- makes changes of limits that are due, so before what is put back is read
local of_session, reach_at = 'session:' .. held.session, side == BUY and HIGHEST_BUY or LOWEST_SELL
local before = call('HMGET', BOOK, 'account', read.field, of_session)
local reach = read.state[reach_at]
release(read.state, side, held.remaining, held.remaining_nanos)
retotal(account, read.long, read.short, read.mark, read.state, position_limits(read.state, read.limits))
local without = {'account', account_text(account), read.field, symbol_text(read.state)}
if before[3] then
  local orders, traded = read_counts(of_session, before[3])
  without[5], without[6] = of_session, counts_text(orders, max(traded - held.remaining * held.price, 0))
end
call('HSET', BOOK, unpack(without))
call('HDEL', BOOK, of_order)
ARGV[1] = header .. struct_pack(PAYLOAD_STRUCT, PAYLOAD_TAG, limit_price, side, judged, #session, session, #symbol,
  symbol, #digest, digest)
local went_well, answer = pcall(judge)
if not went_well or type(answer) ~= 'number' then
  local back = {'account', before[1], read.field, before[2] or symbol_text(read.state), of_order, text}
  if before[3] then
    back[7], back[8] = of_session, before[3]
  end
  call('HSET', BOOK, unpack(back))
  if not went_well then
    error(answer, 0)
  end
  return answer
end

-- What was judged is reserved; what the old order could fill beyond it was held before and stays held.
account = open_book()
read = open_symbol(account, symbol)
held = read_order(of_order, call('HGET', BOOK, of_order))
local pending_at, nanos_at = PENDING_BUY, PENDING_BUY_NANOS
if side == SELL then
  pending_at, nanos_at = PENDING_SELL, PENDING_SELL_NANOS
end
local state = read.state
state[pending_at], state[nanos_at] = subtract(state[pending_at], state[nanos_at], judged, 0)
state[pending_at], state[nanos_at] = add(state[pending_at], state[nanos_at], most, most_nanos)
if reach ~= 0 then
  state[reach_at] = (side == BUY and max or min)(reach, state[reach_at])
end
retotal(account, read.long, read.short, read.mark, state, position_limits(state, read.limits))
local price, judged_at = max(old_price, held.price), held.price
held.remaining, held.remaining_nanos, held.price = most, most_nanos, price
held.payload = struct_pack(PAYLOAD_STRUCT, PAYLOAD_TAG, limit_price, side, most_nanos > 0 and most + 1 or most, #session,
  session, #symbol, symbol, #digest, digest)
of_session = 'session:' .. session
local orders, traded = read_counts(of_session, call('HGET', BOOK, of_session))
call('HSET', BOOK, 'account', account_text(account), read.field, symbol_text(state), of_order, order_text(held),
  of_session, counts_text(orders, traded + most * price - judged * judged_at))
return answer
