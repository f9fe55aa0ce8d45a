-- Moves one fill from pending to position. A fill is a fact: it is never refused for a limit.
local id, execution, symbol, side = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local qty, price = positive(ARGV[5], 'qty'), positive(ARGV[6], 'price')

local sequence, text = open_book('order:' .. id)
if not sequence then
  return {MISSING}
end
if redis.call('HEXISTS', HISTORY, 'execution:' .. execution) == 1 then
  return {OK, sequence}
end
local held = text and read_order(text)
if held and (held.symbol ~= symbol or held.side ~= side) then
  return {'conflict'}
end

local state = read_symbol(symbol)
local filled = held and math.min(held.remaining, qty) or 0
state[side] = state[side] - filled
state.position = state.position + (side == 'buy' and qty or -qty)
if state.mark == 0 then
  state.mark = price
end

local reply = commit_symbol(sequence, symbol, state)
redis.call('HSET', HISTORY, 'execution:' .. execution, reply[2])
if held and filled == held.remaining then
  end_order(id, reply[2])
elseif held then
  held.remaining = held.remaining - filled
  redis.call('HSET', BOOK, 'order:' .. id, order_text(held))
end
return reply
