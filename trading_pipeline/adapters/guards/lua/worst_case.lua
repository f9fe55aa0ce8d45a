-- Shares of a symbol in the worst case, rounded away from zero: long (all buys fill) and short (all sells fill). The net
-- lies between -short_shares and long_shares; the larger of the two is the gross.
local long_shares, short_shares = position + pending_buy, pending_sell - position
if position_nanos + pending_buy_nanos > 0 then
  long_shares = long_shares + (position_nanos + pending_buy_nanos > NANOS and 2 or 1)
end
if position_nanos < pending_sell_nanos then
  short_shares = short_shares + 1
end
