-- The two keys of an account: what is true now, and the ids that are over. Both carry the epoch, so that losing either
-- of them is losing the book.
local BOOK, HISTORY = KEYS[1], KEYS[2]
local call, format, max, min, floor, ceil = redis.call, string.format, math.max, math.min, math.floor, math.ceil
