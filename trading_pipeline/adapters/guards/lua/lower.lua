-- Lowers what a chain of replacements holds to what its live orders can still fill, because one of its orders is over;
-- it never raises it. ARGV: the id the chain holds its reservation by, the order that is over, shares that may still
-- fill, billionths of a share, epoch, sequence seen.
local of_order, settled = 'order:' .. ARGV[1], 'settled:' .. ARGV[2]
local shares, nanos = whole(ARGV[3], 'shares'), whole(ARGV[4], 'billionths')
local account, wrong = current_book(ARGV[5], ARGV[6])
if not account then
  return {wrong}
end
local text = call('HGET', BOOK, of_order)
local held = text and read_order(of_order, text)
local reply
if held and (held.remaining > shares or held.remaining == shares and held.remaining_nanos > nanos) then
  local read = open_symbol(account, held.symbol)
  release(read.state, held.side, subtract(held.remaining, held.remaining_nanos, shares, nanos))
  local of_session = 'session:' .. held.session
  local counts = call('HGET', BOOK, of_session)
  if counts then
    local orders, traded = read_counts(of_session, counts)
    reply = commit_symbol(account, read, of_session,
      counts_text(orders, max(traded - (held.remaining - shares) * held.price, 0)))
  else
    reply = commit_symbol(account, read)
  end
  if shares + nanos == 0 then
    end_order(ARGV[1], reply[2])
  else
    held.remaining, held.remaining_nanos = shares, nanos
    call('HSET', BOOK, of_order, order_text(held))
  end
elseif call('HEXISTS', HISTORY, settled) == 1 then
  return {'known', account[SEQUENCE]}
else
  reply = commit(account)
end
call('HSET', HISTORY, settled, format('%d', reply[2]))
return reply
