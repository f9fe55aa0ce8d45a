-- A reservation is one record, written and removed as a whole: its numbers, and then the payload as it was asked for.
local function order_text(order)
  return struct_pack(ORDER_STRUCT, ORDER_TAG, order.remaining, order.remaining_nanos, order.sequence, order.price)
    .. order.payload
end

local function read_order(field, text)
  if #text <= ORDER_SIZE then
    error('DAMAGED ' .. field .. ' is no order')
  end
  local order_tag, ORDER_NUMBERS, payload_at = struct_unpack(ORDER_STRUCT, text)
  local payload_tag, PAYLOAD_NUMBERS, order_end = struct_unpack(PAYLOAD_STRUCT, text, payload_at)
  if order_tag ~= ORDER_TAG or payload_tag ~= PAYLOAD_TAG or order_end ~= #text + 1 or ORDER_DAMAGED or PAYLOAD_DAMAGED
    or remaining + remaining_nanos == 0 or price == 0 or qty == 0 or limit_price == 0 then
    error('DAMAGED ' .. field .. ' holds what no order can')
  end
  return {remaining = remaining, remaining_nanos = remaining_nanos, sequence = sequence, price = price, symbol = symbol,
    side = side, qty = qty, limit_price = limit_price, session = session, digest = digest,
    payload = string.sub(text, payload_at)}
end

local function end_order(id, sequence)
  call('HSET', HISTORY, 'order:' .. id, format('%d', sequence))
  call('HDEL', BOOK, 'order:' .. id)
end
