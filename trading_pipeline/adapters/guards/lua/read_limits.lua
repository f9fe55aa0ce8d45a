-- From `text` the limits as they bind now. One that is off is ABSENT; only two may be.
if not text or #text ~= LIMITS_SIZE then
  error('DAMAGED limits is not a record of LIMITS_SIZE bytes')
end
local limits_tag, LIMITS_NUMBERS = struct_unpack(LIMITS_STRUCT, text)
if limits_tag ~= LIMITS_TAG or LIMITS_DAMAGED then
  error('DAMAGED a limit is missing')
end
