-- Writes a whole book. ARGV: how many of the values that follow belong to the book, field and value in turn; the rest
-- is the history. Records come as words and are packed here; what follows from them is worked out here. Everything is
-- read as it will be read later before anything is written.
local function numbers_of(field, words, count)
  local numbers = {}
  for word in string.gmatch(words, '[^ ]+') do
    local digits = string.match(word, '^%-(%d+)$')
    numbers[#numbers + 1] = digits and -whole(digits, field) or whole(word, field)
  end
  if #numbers ~= count then
    error('DAMAGED ' .. field .. ' is not ' .. count .. ' numbers: ' .. words)
  end
  return numbers
end

-- What is read must be what was given: a number that does not fit its width would be another one.
local function same(field, numbers, record)
  for at, number in ipairs(numbers) do
    if record[at] ~= number then
      error('DAMAGED ' .. field .. ' holds a number that is too large')
    end
  end
end

local function order_of(field, words)
  local numbers, session, symbol, digest = string.match(words, '^(.+) (%S+) (%S+) (%S+)$')
  if not numbers or max(#session, #symbol, #digest) > 255 then
    error('DAMAGED ' .. field .. ': ' .. words)
  end
  numbers = numbers_of(field, numbers, ORDER_COUNT + PAYLOAD_COUNT)
  local ORDER_NUMBERS, limit_price, side, qty = unpack(numbers)
  local text = struct_pack(ORDER_STRUCT, ORDER_TAG, ORDER_NUMBERS)
    .. struct_pack(PAYLOAD_STRUCT, PAYLOAD_TAG, limit_price, side, qty, #session, session, #symbol, symbol, #digest, digest)
  local held = read_order(field, text)
  same(field, numbers, {held.remaining, held.remaining_nanos, held.sequence, held.price, held.limit_price, held.side,
    held.qty})
  return text
end

-- The field and the record that `clear` would have written when the order was cleared.
local function intent_of(field, words, now)
  local age, side, qty, session, symbol, id, strategy =
    string.match(words, '^(%d+) ([01]) (%d+) (%S+) (%S+) (%S+) (.+)$')
  if not age or max(#session, #symbol) > 255 then
    error('DAMAGED ' .. field .. ': ' .. words)
  end
  local payload = struct_pack(PAYLOAD_STRUCT, PAYLOAD_TAG, ABSENT, side + 0, whole(qty, field), #session, session, #symbol,
    symbol, 0, '')
  local INTENT_NUMBERS = max(now - whole(age, field), 0)
  return 'intent:' .. string.sub(payload, PAYLOAD_SIDE_AT, -2) .. strategy,
    struct_pack(INTENT_STRUCT, INTENT_TAG, INTENT_NUMBERS) .. id
end

-- What was cleared in the last second and minute is not in the token buckets: as little as can have been left in them.
local function draw(account, cleared, limits, now)
  local of_second, of_minute = unpack(numbers_of('cleared', cleared, 2))
  if of_minute > 0 then
    account[RATE_AT_US] = now
    account[RATE_SECOND] = max(limits[MAX_ORDERS_PER_SECOND] - of_second, 0) * 1000000
    account[RATE_MINUTE] = max(limits[MAX_ORDERS_PER_MINUTE] - of_minute, 0) * 60000000
  end
end

local function stored(field, text)
  local kind = string.match(field, '^%l+')
  if kind == 'account' then
    local numbers = numbers_of(field, text, ACCOUNT_COUNT)
    text = account_text(numbers)
    same(field, numbers, read_account(text))
  elseif kind == 'session' then
    local numbers = numbers_of(field, text, SESSION_COUNT)
    text = counts_text(unpack(numbers))
  elseif kind == 'symbol' then
    local numbers = numbers_of(field, text, SYMBOL_COUNT)
    text = symbol_text(numbers)
    same(field, numbers, read_symbol(field, text))
  elseif kind == 'order' then
    text = order_of(field, text)
  end
  return text
end

local function replace_book()
  local count = whole(ARGV[1], 'count')
  if count % 2 ~= 0 or #ARGV % 2 ~= 1 or count + 1 > #ARGV then
    error('DAMAGED a book of ' .. count .. ' values among ' .. #ARGV)
  end
  local now, cleared = now_us(), nil
  local book, history, account, changes = {}, {}, nil, nil
  for at = 2, count + 1, 2 do
    local field, text = ARGV[at], stored(ARGV[at], ARGV[at + 1])
    account = field == 'account' and read_account(text) or account
    changes = field == 'changes' and text or changes
    if field == 'cleared' then
      cleared = text
    else
      if string.find(field, '^intent:') then
        field, text = intent_of(field, text, now)
      end
      book[#book + 1], book[#book + 2] = field, text
    end
  end
  for at = count + 2, #ARGV, 2 do
    history[#history + 1] = ARGV[at]
    history[#history + 1] = format('%d', whole(ARGV[at + 1], ARGV[at]))
  end
  if not account or not cleared or not history[1] then
    error('DAMAGED a book without an account or a history')
  end
  local follows = judged(account, book, changes, now, EXACT)
  draw(account, cleared, read_limits(follows[4]), now)
  call('DEL', BOOK, HISTORY)
  write_fields(BOOK, book)
  write_fields(HISTORY, history)
  write_fields(BOOK, follows)
  call('HSET', BOOK, 'account', account_text(account), 'initialised_at_ms', format('%d', floor(now / 1000)))
  return {OK, account[SEQUENCE]}
end
