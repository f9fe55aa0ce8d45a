-- From `text`, nil for a symbol that the book does not know, the numbers of the symbol whose field is `field`, and in
-- `symbol_rest` the part that most of them leave out.
local symbol_tag, SYMBOL_NUMBERS = SYMBOL_TAG, SYMBOL_USUAL
local size, symbol_rest = text and #text, ''
if size == SYMBOL_SHORT_SIZE then
  symbol_tag, SYMBOL_SHORT_NUMBERS = struct_unpack(SYMBOL_SHORT_STRUCT, text)
elseif size == SYMBOL_SIZE then
  symbol_tag, SYMBOL_NUMBERS = struct_unpack(SYMBOL_STRUCT, text)
  symbol_rest = string.sub(text, SYMBOL_SHORT_SIZE + 1)
  if SYMBOL_REST_DAMAGED then
    error('DAMAGED ' .. field .. ' holds what no symbol can')
  end
elseif size then
  error('DAMAGED ' .. field .. ' is not a record of SYMBOL_SHORT_SIZE or SYMBOL_SIZE bytes')
end
-- Whatever is at risk has a price: the bits of -nan would be a short to be bought back.
if symbol_tag ~= SYMBOL_TAG or SYMBOL_SHORT_DAMAGED or mark == 0 and (position ~= 0 or position_nanos ~= 0
  or pending_buy ~= 0 or pending_buy_nanos ~= 0 or pending_sell ~= 0 or pending_sell_nanos ~= 0) then
  error('DAMAGED ' .. field .. ' holds what no symbol can')
end
