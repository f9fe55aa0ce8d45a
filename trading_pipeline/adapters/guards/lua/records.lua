-- Records: numbers packed into one text, laid out in records.py. Integers of eight bytes are whole and never nan; what
-- is left to check is kind, length and size.
local struct_pack, struct_unpack, unpack = struct.pack, struct.unpack, unpack

local function checked(name, tag, found, ...)
  if found ~= tag or max(...) >= EXACT or min(...) <= -EXACT then
    error('DAMAGED ' .. name .. ' is no record of this book')
  end
  return {...}
end

local function read_record(name, text, layout, size, tag)
  if not text or #text ~= size then
    error('DAMAGED ' .. name .. ' is not a record of ' .. size .. ' bytes')
  end
  return checked(name, tag, struct_unpack(layout, text))
end

local function packed(layout, tag, ...)
  if not (max(...) < EXACT and min(...) > -EXACT) then
    error('DAMAGED a number to be written is beyond 2^53')
  end
  return struct_pack(layout, tag, ...)
end

local function read_account(text)
  local account = read_record('account', text, ACCOUNT_STRUCT, ACCOUNT_SIZE, ACCOUNT_TAG)
  local high, low = account[NET_HIGH], account[NET_LOW] -- the only two below zero
  account[NET_HIGH], account[NET_LOW] = 0, 0
  if min(unpack(account)) < 0 or low > high or max(high, -low, -high, low) > account[GROSS] then
    error('DAMAGED account holds what no account can')
  end
  account[NET_HIGH], account[NET_LOW] = high, low
  return account
end

local function account_text(account)
  return packed(ACCOUNT_STRUCT, ACCOUNT_TAG, unpack(account, 1, ACCOUNT_COUNT))
end

-- Orders of a session, and what they traded or still may.
local function read_counts(name, text)
  local counts = read_record(name, text, SESSION_STRUCT, SESSION_SIZE, SESSION_TAG)
  if min(counts[ORDERS], counts[TRADED]) < 0 then
    error('DAMAGED ' .. name .. ' counts less than nothing')
  end
  return counts[ORDERS], counts[TRADED]
end
