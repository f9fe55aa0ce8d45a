symbols_over > 0 or gross > max_gross_notional or long > max_long_notional or short > max_short_notional
  or net_high > max_net_notional or -net_low > max_net_notional
