-- From `text` the numbers of the account.
if #text ~= ACCOUNT_SIZE then
  error('DAMAGED account is not a record of ACCOUNT_SIZE bytes')
end
local account_tag, ACCOUNT_NUMBERS = struct_unpack(ACCOUNT_STRUCT, text)
if account_tag ~= ACCOUNT_TAG or ACCOUNT_DAMAGED or net_low > net_high or net_high > gross or net_low < -gross then
  error('DAMAGED account holds what no account can')
end
