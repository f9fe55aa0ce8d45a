-- Reads the whole book as it is now. ARGV: epoch ('' for whichever) and lowest sequence that the ledger knows.
-- Reply: trading state, its cause, breaker, then field and value in turn, records as words; nothing more when the book
-- is missing.
local account = open_book()
if not account then
  return {MISSING}
end
if account[KILL_SWITCH] > ENGAGED or account[BREAKER] > QUIET_PERIOD or account[GATE] > CLOSED then
  error('DAMAGED account is in a state that is none')
end
local now = now_us()
if limits_due(account, now) then
  refresh_limits(account, now)
end
local breaker = breaker_now(account, now)
local over = over_limit(account, read_limits(call('HGET', BOOK, 'limits')))
local state, cause = trading_state(account, breaker, over)
if ARGV[1] ~= '' and (account[EPOCH] ~= whole(ARGV[1], 'epoch') or account[SEQUENCE] < whole(ARGV[2], 'sequence')) then
  state, cause = 'halted', STALE
end

local function words(record, count)
  local texts = {}
  for at = 1, count do
    texts[at] = format('%d', record[at])
  end
  return table.concat(texts, ' ')
end
local all = call('HGETALL', BOOK)
for at = 1, #all, 2 do
  local field, text = all[at], all[at + 1]
  if field == 'account' then
    all[at + 1] = words(account, ACCOUNT_COUNT)
  elseif field == 'limits' then
    all[at + 1] = words(read_limits(text), LIMITS_COUNT)
  elseif string.find(field, '^symbol:') then
    all[at + 1] = words(read_symbol(field, text), SYMBOL_COUNT)
  elseif string.find(field, '^session:') then
    all[at + 1] = words({read_counts(field, text)}, SESSION_COUNT)
  end
end
return {OK, state, cause, breaker, all}
