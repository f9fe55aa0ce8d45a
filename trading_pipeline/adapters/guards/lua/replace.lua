-- Writes a whole book. ARGV: how many of the values that follow belong to the book, field and value in turn; the rest
-- is the history. Records come as words and are packed here; what follows from them is worked out here. Everything is
-- read as it will be read later before anything is written.
local PACKED = {
  account = {ACCOUNT_STRUCT, ACCOUNT_TAG, ACCOUNT_COUNT, function(_, text)
    return read_account(text)
  end},
  session = {SESSION_STRUCT, SESSION_TAG, SESSION_COUNT, function(field, text)
    return {read_counts(field, text)}
  end},
  symbol = {SYMBOL_STRUCT, SYMBOL_TAG, SYMBOL_COUNT, read_symbol},
}

local function pack_words(field, words, layout, tag, count, read)
  local numbers = {}
  for word in string.gmatch(words, '[^ ]+') do
    local digits = string.match(word, '^%-(%d+)$')
    numbers[#numbers + 1] = digits and -whole(digits, field) or whole(word, field)
  end
  if #numbers ~= count then
    error('DAMAGED ' .. field .. ' is not ' .. count .. ' numbers: ' .. words)
  end
  local text = packed(layout, tag, unpack(numbers))
  local record = read(field, text)
  for at = 1, count do
    if record[at] ~= numbers[at] then -- it does not fit its width
      error('DAMAGED ' .. field .. ' holds a number that is too large: ' .. words)
    end
  end
  return text
end

local function stored(field, text)
  local kind = PACKED[string.match(field, '^%a+')]
  if kind then
    return pack_words(field, text, unpack(kind))
  elseif string.find(field, '^order:') then
    read_order(text)
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
  local follows = judged(account, book, changes, now)
  call('DEL', BOOK, HISTORY)
  write_fields(BOOK, book)
  write_fields(HISTORY, history)
  write_fields(BOOK, follows)
  call('HSET', BOOK, 'account', account_text(account), 'initialised_at_ms', format('%d', floor(now / 1000)))
  return {OK, account[SEQUENCE]}
end
