-- Opening the book and writing it, for every verb but `clear`, which reads it in one wide call.

-- The sequence number and the raw values asked for, or nil when there is no whole book.
local function open_book(...)
  local raw = redis.call('HMGET', BOOK, 'epoch', 'sequence', ...)
  if not raw[1] or redis.call('HGET', HISTORY, 'epoch') ~= raw[1] then
    return nil
  end
  return whole(raw[2], 'sequence'), unpack(raw, 3, 2 + select('#', ...))
end

-- The sequence number of the book, if it is the one the caller's ledger knows; else nil and what is wrong with it.
local function current_book(epoch, min_sequence)
  local sequence, has_epoch = open_book('epoch')
  if not sequence then
    return nil, MISSING
  end
  if whole(has_epoch, 'epoch') ~= whole(epoch, 'epoch asked for')
    or sequence < whole(min_sequence, 'sequence asked for') then
    return nil, STALE
  end
  return sequence
end

local function commit(sequence, ...)
  redis.call('HSET', BOOK, 'sequence', whole(sequence + 1, 'sequence'), ...)
  return {OK, sequence + 1}
end
