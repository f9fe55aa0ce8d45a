-- Whole numbers and quantities. A comparison with nan is false, which would let an order pass: damage is an error,
-- never a number.
local EXACT = 9007199254740992 -- 2^53: from here on doubles skip whole numbers
local NANOS = 1000000000
local tonumber, type, format, max, min, null = tonumber, type, string.format, math.max, math.min, cjson.null

local function whole(value, name)
  local number = tonumber(value)
  if not number or number % 1 ~= 0 or number >= EXACT or number <= -EXACT then
    error('DAMAGED ' .. name .. ' is not a whole number below 2^53: ' .. tostring(value))
  end
  return number
end

local function positive(value, name)
  local number = whole(value, name)
  if number < 1 then
    error('DAMAGED ' .. name .. ' is not positive: ' .. tostring(value))
  end
  return number
end

-- A list of whole numbers as the book holds it, JSON; and how many of them are null.
local function whole_list(text, count, name)
  local numbers = text and cjson.decode(text)
  if type(numbers) ~= 'table' or #numbers ~= count then
    error('DAMAGED ' .. name .. ' is not a list of ' .. count .. ' numbers: ' .. tostring(text))
  end
  local nulls = 0
  for at = 1, count do
    local number = numbers[at]
    if number == null then
      nulls = nulls + 1
    elseif type(number) ~= 'number' or number % 1 ~= 0 or number >= EXACT or number <= -EXACT then
      error('DAMAGED ' .. name .. ' holds what is no whole number below 2^53: ' .. text)
    end
  end
  return numbers, nulls
end

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

local function ceiling(shares, nanos)
  return nanos > 0 and shares + 1 or shares
end
