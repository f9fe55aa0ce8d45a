-- Writes a whole book. ARGV: how many of the values that follow belong to the book, field and value in turn; the rest
-- is the history. What follows from them is worked out here.
local function write_pairs(key, first, last)
  for at = first, last, 1000 do -- unpack has room for a few thousand values
    redis.call('HSET', key, unpack(ARGV, at, math.min(at + 999, last)))
  end
end

local function replace_book()
  local last = 1 + whole(ARGV[1], 'count')
  local now = now_us()
  redis.call('DEL', BOOK, HISTORY)
  write_pairs(BOOK, 2, last)
  write_pairs(HISTORY, last + 1, #ARGV)
  redis.call('HSET', BOOK, 'initialised_at_ms', string.format('%d', math.floor(now / 1000)))
  refresh_limits(now)
  return {OK, whole(redis.call('HGET', BOOK, 'sequence'), 'sequence')}
end
