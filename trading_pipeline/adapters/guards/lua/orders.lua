-- A reservation is one field, words with a space between: it is written and removed as a whole.
-- Symbol, side, shares, those that may still fill and their billionths, sequence of the clearance, trade session, price it was
-- judged at, limit price (* for none), digest of the payload.
local ORDER = '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+)$'

local function order_text(order)
  return format('%s %s %d %d %d %d %s %d %s %s', order.symbol, order.side, order.qty, order.remaining,
    order.nanos, order.sequence, order.session, order.price, order.limit_price, order.digest)
end

local function read_order(text)
  local symbol, side, qty, remaining, nanos, sequence, session, price, limit_price, digest = string.match(text, ORDER)
  local order = {
    symbol = symbol, side = side, session = session, limit_price = limit_price, digest = digest,
    qty = positive(qty, 'qty'),
    remaining = whole(remaining, 'remaining'),
    nanos = whole(nanos, 'remaining'),
    sequence = whole(sequence, 'sequence'),
    price = positive(price, 'price'),
  }
  if order.nanos >= NANOS or order.remaining + order.nanos == 0 then
    error('DAMAGED remaining shares: ' .. text)
  end
  return order
end

local function end_order(id, sequence)
  call('HSET', HISTORY, 'order:' .. id, format('%d', sequence))
  call('HDEL', BOOK, 'order:' .. id)
end
