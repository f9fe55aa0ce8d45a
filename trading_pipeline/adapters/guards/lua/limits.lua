-- The limits as they bind now. `changes` is the truth: a list of index, symbol ('' for the account), value, and the end
-- in milliseconds (0 for none), oldest first; of those that have not expired the newest of each kind binds. What
-- follows from it is written beside it: `limits`, `limits:S` for symbols with limits of their own, `limits_until_ms`
-- when the next change expires, and who is over a limit now.

local function limits_due(until_ms, now)
  return until_ms and whole(until_ms, 'limits_until_ms') * 1000 <= now
end

-- A limit that is off is null; only two may be.
local function read_limits(text)
  local limits, nulls = whole_list(text, LIMIT_COUNT, 'limits')
  if nulls > 0 then
    nulls = nulls - (limits[MAX_ORDER_ADV_BPS] == null and 1 or 0) - (limits[MAX_POSITION_EQUITY_BPS] == null and 1 or 0)
    if nulls ~= 0 then
      error('DAMAGED a limit is missing: ' .. text)
    end
  end
  return limits
end

local function own_limits(text, limits)
  if not text then
    return limits[MAX_ORDER_SHARES], limits[MAX_ORDER_NOTIONAL], limits[MAX_POSITION_SHARES], limits[MAX_POSITION_NOTIONAL]
  end
  local own = whole_list(text, 4, 'limits of a symbol')
  local function pick(at, index)
    return own[at] == cjson.null and limits[index] or own[at]
  end
  return pick(1, MAX_ORDER_SHARES), pick(2, MAX_ORDER_NOTIONAL), pick(3, MAX_POSITION_SHARES),
    pick(4, MAX_POSITION_NOTIONAL)
end

local function over_limit(totals, limits)
  return totals[6] > 0 or totals[1] > limits[MAX_GROSS_NOTIONAL] or totals[2] > limits[MAX_LONG_NOTIONAL]
    or totals[3] > limits[MAX_SHORT_NOTIONAL] or totals[4] > limits[MAX_NET_NOTIONAL]
    or -totals[5] > limits[MAX_NET_NOTIONAL]
end

-- Works out from `changes` what binds at this instant, and from every symbol what the account is exposed to.
local function refresh_limits(now)
  local function text(value)
    return (value == nil or value == cjson.null) and 'null' or string.format('%d', whole(value, 'limit'))
  end
  local limits, own, next_end = {}, {}, nil
  for _, change in ipairs(cjson.decode(redis.call('HGET', BOOK, 'changes'))) do
    local index, symbol, value, ends = change[1], change[2], change[3], whole(change[4], 'end of a limit')
    local of = limits
    if symbol ~= '' then
      own[symbol] = own[symbol] or {}
      of = own[symbol]
    end
    if ends == 0 or ends * 1000 > now then
      of[index] = value
      if ends > 0 then
        next_end = math.min(next_end or ends, ends)
      end
    end
  end
  local parts = {}
  for index = 1, LIMIT_COUNT do
    if limits[index] == nil then
      error('DAMAGED a limit is missing: number ' .. index)
    end
    parts[index] = text(limits[index])
  end
  local encoded = '[' .. table.concat(parts, ',') .. ']'
  redis.call('HSET', BOOK, 'limits', encoded)
  if next_end then
    redis.call('HSET', BOOK, 'limits_until_ms', next_end)
  else
    redis.call('HDEL', BOOK, 'limits_until_ms')
  end

  limits = read_limits(encoded)
  local all, totals, stale = redis.call('HGETALL', BOOK), cjson.decode(NO_TOTALS), {}
  local of_symbol = {}
  for symbol, has in pairs(own) do
    of_symbol[symbol] = string.format('[%s,%s,%s,%s]', text(has[MAX_ORDER_SHARES]), text(has[MAX_ORDER_NOTIONAL]),
      text(has[MAX_POSITION_SHARES]), text(has[MAX_POSITION_NOTIONAL]))
  end
  for at = 1, #all, 2 do
    local field = all[at]
    local symbol = string.match(field, '^symbol:(.+)$')
    if symbol then
      local state = decode_symbol(all[at + 1])
      local _, _, max_shares, max_ticks = own_limits(of_symbol[symbol], limits)
      local was = state[10]
      state[10] = 0
      retotal(totals, 0, 0, 0, state, max_shares, max_ticks)
      if state[10] ~= was then
        redis.call('HSET', BOOK, field, encode_symbol(state))
      end
    elseif string.match(field, '^limits:') then
      stale[#stale + 1] = field
    end
  end
  for _, field in ipairs(stale) do
    redis.call('HDEL', BOOK, field)
  end
  for symbol, list in pairs(of_symbol) do
    redis.call('HSET', BOOK, 'limits:' .. symbol, list)
  end
  redis.call('HSET', BOOK, 'totals', encode_totals(totals))
end
