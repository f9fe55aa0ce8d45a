-- Takes a tripped breaker into its quiet period, which ends by itself. ARGV: the change, reason, its end in milliseconds
-- as the ledger has it, 0 where no ledger says it: it is as long as the limits say then.
local account, reply = open_change()
if not account then
  return reply
end
if account[BREAKER] ~= TRIPPED then
  return {'unchanged'}
end
local now = now_us()
if limits_due(account, now) then
  refresh_limits(account, now)
end
local quiet_seconds = read_limits(call('HGET', BOOK, 'limits'))[QUIET_PERIOD_SECONDS]
local ends = whole(ARGV[5], 'the end of a quiet period')
account[BREAKER] = QUIET_PERIOD
account[QUIET_UNTIL_MS] = ends > 0 and ends or floor(now / 1000) + quiet_seconds * 1000
return commit_change(account, 'breaker_reason', ARGV[4])
