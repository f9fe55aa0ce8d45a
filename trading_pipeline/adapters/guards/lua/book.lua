-- Opening the book and writing it, for every verb but `clear`, which reads it in one wide call.

-- The account's record, or nil when there is no whole book of this format.
local function open_book()
  local text = call('HGET', BOOK, 'account')
  if not text or string.byte(text) ~= ACCOUNT_TAG then
    return nil
  end
  local account = read_account(text)
  if call('HGET', HISTORY, 'epoch') ~= format('%d', account[EPOCH]) then
    return nil
  end
  return account
end

-- The account's record, if the book is the one the caller's ledger knows; else nil and what is wrong with it.
local function current_book(epoch, min_sequence)
  local account = open_book()
  epoch, min_sequence = whole(epoch, 'epoch asked for'), whole(min_sequence, 'sequence asked for')
  if not account then
    return nil, MISSING
  end
  if account[EPOCH] ~= epoch or account[SEQUENCE] < min_sequence then
    return nil, STALE
  end
  return account
end

-- Writes the account's record under the next sequence number, with the fields and values that follow.
local function commit(account, ...)
  account[SEQUENCE] = account[SEQUENCE] + 1
  call('HSET', BOOK, 'account', account_text(account), ...)
  return {OK, account[SEQUENCE]}
end
