-- A reservation is one record, written and removed as a whole: its numbers, and then the payload as it was asked for.
local function order_text(order)
  local remaining, remaining_nanos, sequence, price = order.remaining, order.remaining_nanos, order.sequence, order.price
  if ORDER_DAMAGED or remaining + remaining_nanos == 0 then
    error('DAMAGED an order would hold what none can')
  end
  return struct_pack(ORDER_STRUCT, ORDER_TAG, remaining, remaining_nanos, sequence, price) .. order.payload
end

local function read_payload(payload)
  local payload_tag, PAYLOAD_NUMBERS, ends = struct_unpack(PAYLOAD_STRUCT, payload)
  if payload_tag ~= PAYLOAD_TAG or PAYLOAD_DAMAGED or ends ~= #payload + 1 then
    error('DAMAGED payload of an order')
  end
  return {symbol = symbol, side = side, qty = qty, limit_price = limit_price, session = session, digest = digest}
end

local function read_order(field, text)
  if #text <= ORDER_SIZE then
    error('DAMAGED ' .. field .. ' is no order')
  end
  local order_tag, remaining, remaining_nanos, sequence, price = struct_unpack(ORDER_STRUCT, text)
  if order_tag ~= ORDER_TAG or ORDER_DAMAGED or remaining + remaining_nanos == 0 then
    error('DAMAGED ' .. field .. ' holds what no order can')
  end
  local order = read_payload(string.sub(text, ORDER_SIZE + 1))
  order.payload = string.sub(text, ORDER_SIZE + 1)
  order.remaining, order.remaining_nanos, order.sequence, order.price = remaining, remaining_nanos, sequence, price
  return order
end

local function end_order(id, sequence)
  call('HSET', HISTORY, 'order:' .. id, format('%d', sequence))
  call('HDEL', BOOK, 'order:' .. id)
end
