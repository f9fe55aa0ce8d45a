-- Opens or closes the reconciliation gate. ARGV: the change, open or closed, reason.
local account, reply = open_change()
if not account then
  return reply
end
local gate = ARGV[4] == 'open' and OPEN or CLOSED
if account[GATE] == gate then
  return no_change(account)
end
account[GATE] = gate
return commit_change(account, 'gate_reason', ARGV[5])
