-- Replaces the limits. ARGV: field and value in turn. What is reserved already stays reserved.
local sequence = open_book()
if not sequence then
  return {MISSING}
end
return commit(sequence, unpack(ARGV))
