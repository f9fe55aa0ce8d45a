-- Replaces the limits. ARGV: the list of changes as JSON. What is reserved already stays reserved.
local sequence = open_book()
if not sequence then
  return {MISSING}
end
local reply = commit(sequence, 'changes', ARGV[1])
refresh_limits(now_us())
return reply
