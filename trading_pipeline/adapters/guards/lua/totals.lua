-- Replaces what a symbol added to the totals by what it adds now, and marks it as over its limits or not.
local worst = long_shares > short_shares and long_shares or short_shares
local old_worst = old_long_shares > old_short_shares and old_long_shares or old_short_shares
gross = gross + worst * mark - old_worst * old_mark
long = long + (long_shares > 0 and long_shares or 0) * mark - (old_long_shares > 0 and old_long_shares or 0) * old_mark
short = short + (short_shares > 0 and short_shares or 0) * mark
  - (old_short_shares > 0 and old_short_shares or 0) * old_mark
net_high = net_high + long_shares * mark - old_long_shares * old_mark
net_low = net_low - short_shares * mark + old_short_shares * old_mark
local over = (worst > max_position_shares or worst * mark > max_position_notional) and 1 or 0
symbols_over = symbols_over + over - over_limit
over_limit = over
