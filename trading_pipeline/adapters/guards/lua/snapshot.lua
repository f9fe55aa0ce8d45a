-- Reads the whole book as it is now. ARGV: epoch ('' for whichever) and lowest sequence that the ledger knows.
-- Reply: trading state, its cause, breaker, then field and value in turn, records as words and intents left out; nothing
-- more when the book is missing.
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

local function words(...)
  local texts = {...}
  for at, value in ipairs(texts) do
    texts[at] = type(value) == 'number' and format('%d', value) or value
  end
  return table.concat(texts, ' ')
end
local all, shown = call('HGETALL', BOOK), {}
for at = 1, #all, 2 do
  local field, text = all[at], all[at + 1]
  local kind = string.match(field, '^%l+')
  if kind == 'account' then
    text = words(unpack(account))
  elseif kind == 'limits' then
    text = words(unpack(read_limits(text)))
  elseif kind == 'symbol' then
    text = words(unpack(read_symbol(field, text)))
  elseif kind == 'session' then
    text = words(read_counts(field, text))
  elseif kind == 'order' then
    local held = read_order(field, text)
    text = words(held.remaining, held.remaining_nanos, held.sequence, held.price, held.limit_price, held.side, held.qty,
      held.session, held.symbol, held.digest)
  end
  if kind ~= 'intent' then
    shown[#shown + 1] = field
    shown[#shown + 1] = text
  end
end
return {OK, state, cause, breaker, shown}
