-- Ends an order: what is still reserved is released, and its id never clears again.
local id = ARGV[1]
local sequence, text = open_book('order:' .. id)
if not sequence then
  return {MISSING}
end
if redis.call('HEXISTS', HISTORY, 'order:' .. id) == 1 then
  return {OK, sequence}
end

local reply
if text then
  local held = read_order(text)
  local state = read_symbol(held.symbol)
  state[held.side] = state[held.side] - held.remaining
  reply = commit_symbol(sequence, held.symbol, state)
else
  reply = commit(sequence)
end
end_order(id, reply[2])
return reply
