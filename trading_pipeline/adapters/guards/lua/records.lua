-- Records: numbers packed into one text, laid out in records.py, as tables: place and name of each number are the same.
local function read_account(text)
  --@ read_account
  return {ACCOUNT_NUMBERS}
end

local function account_text(account)
  local ACCOUNT_NUMBERS = unpack(account)
  if ACCOUNT_UNFIT then
    error('DAMAGED a number of the account would be out of range')
  end
  return struct_pack(ACCOUNT_STRUCT, ACCOUNT_TAG, ACCOUNT_NUMBERS)
end

local function read_limits(text)
  --@ read_limits
  return {LIMITS_NUMBERS}
end

local function limits_text(limits)
  local LIMITS_NUMBERS = unpack(limits, 1, LIMITS_COUNT)
  if LIMITS_UNFIT then
    error('DAMAGED a limit is missing')
  end
  return struct_pack(LIMITS_STRUCT, LIMITS_TAG, LIMITS_NUMBERS)
end

local function counts_text(SESSION_NUMBERS)
  if SESSION_UNFIT then
    error('DAMAGED a count of a session would be out of range')
  end
  return struct_pack(SESSION_STRUCT, SESSION_TAG, SESSION_NUMBERS)
end

-- Orders of a session, and what they traded or still may.
local function read_counts(field, text)
  local SESSION_NUMBERS
  --@ read_counts
  return SESSION_NUMBERS
end
