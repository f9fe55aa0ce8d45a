-- Engages the kill switch: from here on nothing clears but a flatten. ARGV: the change, reason.
local account, reply = open_change()
if not account then
  return reply
end
if account[KILL_SWITCH] ~= DISENGAGED then
  return {'unchanged'}
end
account[KILL_SWITCH] = ENGAGED
return commit_change(account, 'kill_switch_reason', ARGV[4])
