-- The first order of a session. Another name of the same day, or of a symbol, would begin its counts at nothing.
if not string.find(session, '^%d%d%d%d%-%d%d%-%d%d$') then
  error('BAD REQUEST, order ' .. id .. ': ' .. session .. ' is no session')
end
-- The intents of earlier sessions are over.
for _, field in ipairs(call('HKEYS', BOOK)) do
  if string.find(field, '^intent:') then
    local text = call('HGET', BOOK, field)
    --@ read_intent
    if now - at_us >= window then
      call('HDEL', BOOK, field)
    end
  end
end
