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
  local book, history, account, changes = {}, {}, nil, nil
  for at = 2, count + 1, 2 do
    local field, text = ARGV[at], stored(ARGV[at], ARGV[at + 1])
    book[at - 1], book[at] = field, text
    account = field == 'account' and read_account(text) or account
    changes = field == 'changes' and text or changes
  end
  for at = count + 2, #ARGV, 2 do
    history[#history + 1] = ARGV[at]
    history[#history + 1] = format('%d', whole(ARGV[at + 1], ARGV[at]))
  end
  if not account or not history[1] then
    error('DAMAGED a book without an account or a history')
  end
  local now = now_us()
  local follows = judged(account, book, changes, now, EXACT)
  call('DEL', BOOK, HISTORY)
  write_fields(BOOK, book)
  write_fields(HISTORY, history)
  write_fields(BOOK, follows)
  call('HSET', BOOK, 'account', account_text(account), 'initialised_at_ms', format('%d', floor(now / 1000)))
  return {OK, account[SEQUENCE]}
end
