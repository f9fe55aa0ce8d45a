-- Takes a tripped breaker into its quiet period, which ends by itself. ARGV: the change, reason.
local sequence, breaker, limits, until_ms = open_change('breaker', 'limits', 'limits_until_ms')
if not sequence then
  return breaker
end
if breaker ~= 'tripped' then
  return {'unchanged'}
end
local now = now_us()
if limits_due(until_ms, now) then
  refresh_limits(now)
  limits = redis.call('HGET', BOOK, 'limits')
end
local quiet_seconds = read_limits(limits)[QUIET_PERIOD_SECONDS]
return commit_change(sequence, 'breaker', 'quiet_period', 'breaker_reason', ARGV[4],
  'quiet_until_ms', string.format('%d', math.floor(now / 1000) + quiet_seconds * 1000))
