-- Numbers of requests and fields: decimal digits and nothing else. Hex, exponents, spaces and signs would be numbers to
-- tonumber, and a comparison with nan is false, which would let an order pass: damage is an error, never a number.
local function whole(text, name)
  local number = text and string.find(text, '^%d+$') and tonumber(text)
  if not number or number >= EXACT then
    error('DAMAGED ' .. name .. ' is not a whole number from 0 and below 2^53: ' .. tostring(text))
  end
  return number
end

local function positive(text, name)
  local number = whole(text, name)
  if number < 1 then
    error('DAMAGED ' .. name .. ' is not positive: ' .. text)
  end
  return number
end
