-- A quantity of shares is two numbers: whole shares, rounded down, and the billionths above them. Checks round up
-- whatever they judge, so a fraction never makes room.
local function add(shares, nanos, more, more_nanos)
  shares, nanos = shares + more, nanos + more_nanos
  if nanos >= NANOS then
    return shares + 1, nanos - NANOS
  end
  return shares, nanos
end

local function subtract(shares, nanos, less, less_nanos)
  shares, nanos = shares - less, nanos - less_nanos
  if nanos < 0 then
    return shares - 1, nanos + NANOS
  end
  return shares, nanos
end
