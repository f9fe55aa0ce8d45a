-- From `text` when the newest order of a kind was cleared; its id follows.
if #text <= INTENT_SIZE then
  error('DAMAGED ' .. field .. ' names no order')
end
local intent_tag, INTENT_NUMBERS = struct_unpack(INTENT_STRUCT, text)
if intent_tag ~= INTENT_TAG or INTENT_DAMAGED then
  error('DAMAGED ' .. field)
end
