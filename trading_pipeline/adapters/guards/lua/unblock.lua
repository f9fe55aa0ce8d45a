-- Lifts the block of one symbol.
local field = symbol_prefix(ARGV[1]) .. 'blocked'
local sequence, blocked = open_book(field)
if not sequence then
  return {MISSING}
end
if not blocked then
  return {OK, sequence}
end
local reply = commit(sequence)
redis.call('HDEL', BOOK, field)
return reply
