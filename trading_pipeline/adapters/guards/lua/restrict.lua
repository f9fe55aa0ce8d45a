-- Keeps a symbol from trading, or lets it again. ARGV: blocked or quarantined, symbol, value ('' lets it trade).
-- `blocked:S` is 1; `quarantined:S` is the end in milliseconds, 0 for none.
local field, value = ARGV[1] .. ':' .. ARGV[2], ARGV[3]
local sequence, present = open_book(field)
if not sequence then
  return {MISSING}
end
if (present or '') == value then
  return {OK, sequence}
end
if value ~= '' then
  return commit(sequence, field, whole(value, field))
end
redis.call('HDEL', BOOK, field)
return commit(sequence)
