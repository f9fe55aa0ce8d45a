-- Keeps a symbol from trading, or lets it again. ARGV: the change, blocked or quarantined, symbol, value ('' lets it
-- trade): 1 for blocked, the end in milliseconds for quarantined, 0 for none.
local field, at, value = 'symbol:' .. ARGV[5], nil, nil
if ARGV[4] == 'blocked' then
  at, value = BLOCKED, ARGV[6] == '' and 0 or positive(ARGV[6], 'blocked')
else
  at, value = QUARANTINED_UNTIL_MS, ARGV[6] == '' and ABSENT or whole(ARGV[6], 'the end of a quarantine')
end
local account, reply = open_change()
if not account then
  return reply
end
local state = read_symbol(field, call('HGET', BOOK, field))
worst_case(field, state, account[GROSS])
if state[at] == value then
  return no_change(account)
end
state[at] = value
return commit_change(account, field, symbol_text(state))
