-- Takes a tripped breaker into its quiet period, which ends by itself.
local sequence, breaker, quiet_period_ms = open_book('breaker', 'quiet_period_ms')
if not sequence then
  return {MISSING}
end
if breaker ~= 'tripped' then
  return {'unchanged'}
end
return commit(sequence, 'breaker', 'quiet_period', 'breaker_reason', ARGV[1],
  'quiet_until_ms', now_ms() + whole(quiet_period_ms, 'quiet_period_ms'))
