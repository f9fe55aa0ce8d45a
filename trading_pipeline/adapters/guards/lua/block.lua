-- Blocks one symbol: only a flatten clears for it.
local field = symbol_prefix(ARGV[1]) .. 'blocked'
local sequence, blocked = open_book(field)
if not sequence then
  return {MISSING}
end
if blocked then
  return {OK, sequence}
end
return commit(sequence, field, 1)
