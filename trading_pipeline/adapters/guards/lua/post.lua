-- Moves one fill from pending to position. A fill is a fact: it is never refused for a limit.
-- Shares beyond what the order holds count for its session, which gave them back when it ended, at what it was judged at.
-- ARGV: order, execution, symbol, side by its number, shares, billionths of a share, price, trade session ('-' for none)
-- and price the order was judged at, epoch, sequence seen.
local id, execution, symbol, side = ARGV[1], ARGV[2], ARGV[3], whole(ARGV[4], 'side')
local shares, nanos, price = whole(ARGV[5], 'shares'), whole(ARGV[6], 'billionths'), positive(ARGV[7], 'price')
local of_session, judged_at = 'session:' .. ARGV[8], whole(ARGV[9], 'price judged at')
if nanos >= NANOS or shares + nanos == 0 or side > SELL then
  error('DAMAGED a fill of ' .. ARGV[5] .. ' shares and ' .. ARGV[6] .. ' billionths, side ' .. side)
end

local account, wrong = current_book(ARGV[10], ARGV[11])
if not account then
  return {wrong}
end
if call('HEXISTS', HISTORY, 'execution:' .. execution) == 1 then
  return {'known', account[SEQUENCE]}
end
local of_order = 'order:' .. id
local text = call('HGET', BOOK, of_order)
local held = text and read_order(of_order, text)
if held and (held.symbol ~= symbol or held.side ~= side) then
  return {'conflict'}
end

local read = open_symbol(account, symbol)
local state = read.state
local left, left_nanos, beyond = 0, 0, nanos > 0 and shares + 1 or shares
if held then
  left, left_nanos = subtract(held.remaining, held.remaining_nanos, shares, nanos)
  beyond = max(-left, 0)
  if left < 0 then -- more than was ordered: the position takes it all, pending gives what it has
    left, left_nanos = 0, 0
  end
  release(state, side, subtract(held.remaining, held.remaining_nanos, left, left_nanos))
end
local move = side == BUY and add or subtract
state[POSITION], state[POSITION_NANOS] = move(state[POSITION], state[POSITION_NANOS], shares, nanos)
if state[MARK] == 0 then
  state[MARK] = price
end

local counts = beyond > 0 and call('HGET', BOOK, of_session)
local reply
if counts then
  local orders, traded = read_counts(of_session, counts)
  reply = commit_symbol(account, read, of_session, counts_text(orders, traded + beyond * judged_at))
else
  reply = commit_symbol(account, read)
end
call('HSET', HISTORY, 'execution:' .. execution, format('%d', reply[2]))
if held and left + left_nanos == 0 then
  end_order(id, reply[2])
elseif held then
  held.remaining, held.remaining_nanos = left, left_nanos
  call('HSET', BOOK, of_order, order_text(held))
end
return reply
