-- Replaces the limits. ARGV: the change, the list of limits as JSON. What is reserved already stays reserved.
local sequence, wrong = open_change()
if not sequence then
  return wrong
end
local reply = commit_change(sequence, 'changes', ARGV[4])
refresh_limits(now_us())
return reply
