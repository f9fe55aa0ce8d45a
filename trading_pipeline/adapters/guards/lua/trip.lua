-- Trips the breaker. Tripped already: the first reason stands. ARGV: the change, reason.
local account, reply = open_change()
if not account then
  return reply
end
if breaker_now(account, now_us()) == TRIPPED then
  return no_change(account)
end
account[BREAKER] = TRIPPED
return commit_change(account, 'breaker_reason', ARGV[4])
