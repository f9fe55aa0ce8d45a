-- From `text` the counts of the session whose field is `field`, into the locals that its record names.
if #text ~= SESSION_SIZE then
  error('DAMAGED ' .. field .. ' is not a record of SESSION_SIZE bytes')
end
local session_tag
session_tag, SESSION_NUMBERS = struct_unpack(SESSION_STRUCT, text)
if session_tag ~= SESSION_TAG or SESSION_DAMAGED then
  error('DAMAGED ' .. field .. ' counts what no session can')
end
