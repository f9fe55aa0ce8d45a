-- Opens or closes the reconciliation gate. ARGV: open or closed, reason.
local sequence, gate = open_book('gate')
if not sequence then
  return {MISSING}
end
if gate == ARGV[1] then
  return {OK, sequence}
end
return commit(sequence, 'gate', ARGV[1], 'gate_reason', ARGV[2])
