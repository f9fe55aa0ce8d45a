-- `changes` is the truth of the limits, a line for each: index, value (- is off, or none of its own), end in milliseconds
-- (0 for none) and the symbol if it is not the account's; oldest first. Of those that have not expired the newest of each
-- kind binds. What follows from it is written beside it: the record `limits`, the symbols' own limits, when the next
-- change expires, and who is over a limit now.
local OWN = {[MAX_ORDER_SHARES] = OWN_MAX_ORDER_SHARES, [MAX_ORDER_NOTIONAL] = OWN_MAX_ORDER_NOTIONAL,
  [MAX_POSITION_SHARES] = OWN_MAX_POSITION_SHARES, [MAX_POSITION_NOTIONAL] = OWN_MAX_POSITION_NOTIONAL}

-- The account's limits, those of symbols by symbol and place, and the end of the next change to expire, 0 for none.
local function in_force(changes, now)
  local limits, own, next_end = {}, {}, 0
  for line in string.gmatch(changes or '', '[^\n]+') do
    local index, value, ends, symbol = string.match(line, '^(%d+) (%S+) (%d+) ?(%S*)$')
    local of, at = limits, whole(index, 'the number of a limit')
    if symbol ~= '' then
      own[symbol] = own[symbol] or {}
      of, at = own[symbol], OWN[at]
    end
    if not at or of == limits and (at < 1 or at > LIMITS_COUNT) then
      error('DAMAGED no such limit: ' .. line)
    end
    value, ends = value == '-' and ABSENT or whole(value, 'limit'), whole(ends, 'the end of a limit')
    if ends == 0 or ends * 1000 > now then
      of[at] = value
      if ends > 0 then
        next_end = next_end > 0 and min(next_end, ends) or ends
      end
    end
  end
  for index = 1, LIMITS_COUNT do
    if not limits[index] then
      error('DAMAGED a limit is missing: number ' .. index)
    end
  end
  return limits, own, next_end
end

-- Judges every symbol of a book, given as field and value in turn, by changes of limits, and counts them up in the
-- account's record. Returns what is to be written beside it, in the same way. Nothing is written here: a script that
-- fails later than that would leave half of it. `gross` is the most that any symbol of it may be worth.
local function judged(account, fields, changes, now, gross)
  local limits, own, next_end = in_force(changes, now)
  local writes = {'changes', changes, 'limits', limits_text(limits)}
  for at = GROSS, SYMBOLS_OVER do
    account[at] = 0
  end
  local function judge(field, text, has)
    local state = read_symbol(field, text)
    for _, at in pairs(OWN) do
      state[at] = has[at] or ABSENT
    end
    state[OVER_LIMIT] = 0
    worst_case(field, state, gross)
    retotal(account, 0, 0, 0, state, position_limits(state, limits))
    writes[#writes + 1] = field
    writes[#writes + 1] = symbol_text(state)
  end
  for at = 1, #fields, 2 do
    local symbol = string.match(fields[at], '^symbol:(.+)$')
    if symbol then
      judge(fields[at], fields[at + 1], own[symbol] or {})
      own[symbol] = nil
    end
  end
  for symbol, has in pairs(own) do
    judge('symbol:' .. symbol, nil, has)
  end
  account[LIMITS_UNTIL_MS] = next_end
  account_text(account) -- it can be written
  return writes
end

local function write_fields(key, fields)
  for at = 1, #fields, 1000 do -- unpack has room for a few thousand values
    call('HSET', key, unpack(fields, at, min(at + 999, #fields)))
  end
end

local function refresh_limits(account, now)
  local follows = judged(account, call('HGETALL', BOOK), call('HGET', BOOK, 'changes'), now, account[GROSS])
  follows[#follows + 1] = 'account'
  follows[#follows + 1] = account_text(account)
  write_fields(BOOK, follows)
end
