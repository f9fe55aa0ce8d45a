-- What the book holds of one symbol, and what it adds to the totals of the account.

local function read_symbol(field, text)
  --@ read_symbol
  return {SYMBOL_NUMBERS}
end

-- What is as usual in most symbols is left out.
local function symbol_text(state)
  local SYMBOL_NUMBERS = unpack(state)
  if SYMBOL_SHORT_UNFIT or SYMBOL_REST_UNFIT then
    error('DAMAGED a number of a symbol would be out of range')
  end
  if struct_pack(SYMBOL_REST_STRUCT, SYMBOL_TAG, SYMBOL_REST_NUMBERS)
    == struct_pack(SYMBOL_REST_STRUCT, SYMBOL_TAG, SYMBOL_REST_USUAL) then
    return struct_pack(SYMBOL_SHORT_STRUCT, SYMBOL_TAG, SYMBOL_SHORT_NUMBERS)
  end
  return struct_pack(SYMBOL_STRUCT, SYMBOL_TAG, SYMBOL_NUMBERS)
end

-- The worst case of a symbol as it is in an account of this gross.
local function worst_case(field, state, gross)
  local SYMBOL_NUMBERS = unpack(state)
  --@ worst_case
  --@ within_gross
  return long_shares, short_shares
end

local function retotal(account, old_long_shares, old_short_shares, old_mark, state, max_position_shares,
  max_position_notional)
  local ACCOUNT_NUMBERS = unpack(account)
  local SYMBOL_NUMBERS = unpack(state)
  --@ worst_case
  --@ totals
  account[GROSS], account[LONG], account[SHORT], account[NET_HIGH], account[NET_LOW], account[SYMBOLS_OVER] =
    gross, long, short, net_high, net_low, symbols_over
  state[OVER_LIMIT] = over_limit
end
