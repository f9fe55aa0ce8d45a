-- A symbol's own limits hold in place of the account's.
if own_max_order_shares >= 0 then
  max_order_shares = own_max_order_shares
end
if own_max_order_notional >= 0 then
  max_order_notional = own_max_order_notional
end
if own_max_position_shares >= 0 then
  max_position_shares = own_max_position_shares
end
if own_max_position_notional >= 0 then
  max_position_notional = own_max_position_notional
end
