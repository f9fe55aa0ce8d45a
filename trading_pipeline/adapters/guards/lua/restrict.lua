-- Keeps a symbol from trading, or lets it again. ARGV: the change, blocked or quarantined, symbol, value ('' lets it
-- trade). `blocked:S` is 1; `quarantined:S` is the end in milliseconds, 0 for none.
local field, value = ARGV[4] .. ':' .. ARGV[5], ARGV[6]
local sequence, present = open_change(field)
if not sequence then
  return present
end
if (present or '') == value then
  return no_change(sequence)
end
if value ~= '' then
  return commit_change(sequence, field, whole(value, field))
end
redis.call('HDEL', BOOK, field)
return commit_change(sequence)
