-- No symbol is worth more than the gross of its account: the bits of -inf would be a short to be bought back.
if long_shares * mark > gross or short_shares * mark > gross then
  error('DAMAGED ' .. field .. ' holds more than the account')
end
