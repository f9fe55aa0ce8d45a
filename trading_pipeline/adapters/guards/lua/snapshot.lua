-- Reads the whole book as it is now. Reply: trading state, breaker, then field and value in turn; nothing when missing.
local sequence, kill_switch, breaker, quiet_until_ms = open_book('kill_switch', 'breaker', 'quiet_until_ms')
if not sequence then
  return {MISSING}
end
breaker = breaker_now(breaker, quiet_until_ms)
local trading = 'active'
if kill_switch ~= 'disengaged' then
  trading = 'halted'
elseif breaker ~= 'open' then
  trading = 'reducing'
end
return {OK, trading, breaker, redis.call('HGETALL', BOOK)}
