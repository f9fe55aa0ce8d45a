-- The two keys of an account: what is true now, and the ids that are over. Both carry the epoch, so that losing either
-- of them is losing the book.
local BOOK, HISTORY = KEYS[1], KEYS[2]
local call, struct_pack, struct_unpack = redis.call, struct.pack, struct.unpack
