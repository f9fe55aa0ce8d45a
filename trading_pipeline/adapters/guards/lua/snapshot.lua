-- Reads the whole book as it is now. ARGV: epoch ('' for whichever) and lowest sequence that the ledger knows.
-- Reply: trading state, its cause, breaker, then field and value in turn; nothing more when the book is missing.
local sequence, epoch, kill_switch, breaker, quiet_until_ms, gate, until_ms =
  open_book('epoch', 'kill_switch', 'breaker', 'quiet_until_ms', 'gate', 'limits_until_ms')
if not sequence then
  return {MISSING}
end
local now = now_us()
if limits_due(until_ms, now) then
  refresh_limits(now)
end
local raw = redis.call('HMGET', BOOK, 'totals', 'limits')
local over = over_limit(whole_list(raw[1], 6, 'totals'), read_limits(raw[2]))
breaker = breaker_now(breaker, quiet_until_ms, now)
local state, cause = trading_state(kill_switch, breaker, gate, over)
if ARGV[1] ~= '' and (epoch ~= ARGV[1] or sequence < whole(ARGV[2], 'sequence')) then
  state, cause = 'halted', STALE
end
return {OK, state, cause, breaker, redis.call('HGETALL', BOOK)}
