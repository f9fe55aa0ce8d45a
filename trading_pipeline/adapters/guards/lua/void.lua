-- Ends an order: what is still reserved is released, and its id never clears again.
local id = ARGV[1]
local sequence, wrong = current_book(ARGV[2], ARGV[3])
if not sequence then
  return {wrong}
end
if redis.call('HEXISTS', HISTORY, 'order:' .. id) == 1 then
  return {OK, sequence}
end

local text = redis.call('HGET', BOOK, 'order:' .. id)
local reply
if text then
  local held = read_order(text)
  local read = read_symbol(held.symbol)
  release(read.state, held.side, held.remaining, held.nanos)
  -- What will not trade is no part of the session's notional; a fraction of a share stays in it.
  local of_session = 'session:' .. held.session
  local counts = redis.call('HGET', BOOK, of_session)
  if counts then
    counts = whole_list(counts, 2, of_session)
    reply = commit_symbol(sequence, held.symbol, read, of_session,
      string.format('[%d,%d]', counts[1], math.max(counts[2] - held.remaining * held.price, 0)))
  else
    reply = commit_symbol(sequence, held.symbol, read)
  end
else
  reply = commit(sequence)
end
end_order(id, reply[2])
return reply
