-- Opens or closes the reconciliation gate. ARGV: the change, open or closed, reason.
local sequence, gate = open_change('gate')
if not sequence then
  return gate
end
if gate == ARGV[4] then
  return no_change(sequence)
end
return commit_change(sequence, 'gate', ARGV[4], 'gate_reason', ARGV[5])
