-- Ends an order: what is still reserved is released, and its id never clears again.
local id = ARGV[1]
local account, wrong = current_book(ARGV[2], ARGV[3])
if not account then
  return {wrong}
end
if call('HEXISTS', HISTORY, 'order:' .. id) == 1 then
  return {'known', account[SEQUENCE]}
end

local of_order = 'order:' .. id
local text = call('HGET', BOOK, of_order)
local reply
if text then
  local held = read_order(of_order, text)
  local read = open_symbol(account, held.symbol)
  release(read.state, held.side, held.remaining, held.remaining_nanos)
  -- What will not trade is no part of the session's notional; a fraction of a share stays in it.
  local of_session = 'session:' .. held.session
  local counts = call('HGET', BOOK, of_session)
  if counts then
    local orders, traded = read_counts(of_session, counts)
    reply = commit_symbol(account, read, of_session,
      counts_text(orders, max(traded - held.remaining * held.price, 0)))
  else
    reply = commit_symbol(account, read)
  end
else
  reply = commit(account)
end
end_order(id, reply[2])
return reply
