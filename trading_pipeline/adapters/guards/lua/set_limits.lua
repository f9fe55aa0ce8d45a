-- Replaces the limits. ARGV: the change, the limits. What is reserved already stays reserved.
local account, reply = open_change()
if not account then
  return reply
end
local follows = judged(account, call('HGETALL', BOOK), ARGV[4], now_us(), account[GROSS])
reply = commit_change(account)
write_fields(BOOK, follows)
return reply
