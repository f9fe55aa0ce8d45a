-- The two keys of an account: what is true now, and the ids that are over. Both carry the epoch, so that losing either
-- of them is losing the book.
local BOOK, HISTORY = KEYS[1], KEYS[2]
local OK, MISSING, STALE = 'ok', 'book_missing', 'book_stale'
