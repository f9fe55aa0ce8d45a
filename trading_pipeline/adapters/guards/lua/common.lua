-- Shared by every verb: it reads and writes the book, and must not decide anything about an order.
-- Two keys hold an account: what is true now, and the ids that are over. Both carry the epoch, so that losing
-- either of them is losing the book.
local BOOK, HISTORY = KEYS[1], KEYS[2]
local EXACT = 9007199254740992 -- 2^53: from here on doubles skip whole numbers
local OK, MISSING = 'ok', 'book_missing'

-- A comparison with nan is false, which would let an order pass: damage is an error, never a number.
local function whole(value, name)
  local number = tonumber(value)
  if not number or number % 1 ~= 0 or number >= EXACT or number <= -EXACT then
    error('DAMAGED ' .. name .. ' is not a whole number below 2^53: ' .. tostring(value))
  end
  return number
end

local function positive(value, name)
  local number = whole(value, name)
  if number < 1 then
    error('DAMAGED ' .. name .. ' is not positive: ' .. tostring(value))
  end
  return number
end

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- The sequence number and the raw values asked for, or nil when there is no whole book.
local function open_book(...)
  local raw = redis.call('HMGET', BOOK, 'epoch', 'sequence', ...)
  if not raw[1] or redis.call('HGET', HISTORY, 'epoch') ~= raw[1] then
    return nil
  end
  return whole(raw[2], 'sequence'), unpack(raw, 3, 2 + select('#', ...))
end

local function commit(sequence, ...)
  redis.call('HSET', BOOK, 'sequence', sequence + 1, ...)
  return {OK, sequence + 1}
end

-- The breaker as it is now: the end of a quiet period is a matter of time, nobody writes it down.
local function breaker_now(stored, quiet_until_ms)
  if stored == 'quiet_period' and now_ms() >= whole(quiet_until_ms, 'quiet_until_ms') then
    return 'open'
  end
  return stored
end

local function symbol_prefix(symbol)
  return 'symbol:' .. symbol .. ':'
end

local function symbol_state(position, buy, sell, mark, exposure)
  return {
    position = whole(position or 0, 'position'),
    buy = whole(buy or 0, 'buy'),
    sell = whole(sell or 0, 'sell'),
    mark = whole(mark or 0, 'mark'),
    exposure = whole(exposure or 0, 'exposure'),
  }
end

local function read_symbol(symbol)
  local prefix = symbol_prefix(symbol)
  return symbol_state(unpack(redis.call('HMGET', BOOK,
    prefix .. 'position', prefix .. 'buy', prefix .. 'sell', prefix .. 'mark', prefix .. 'exposure'), 1, 5))
end

local function worst_case(state)
  return math.max(math.abs(state.position + state.buy), math.abs(state.position - state.sell))
end

local function reduces(state, side, qty)
  if side == 'buy' then
    return state.position < 0 and state.position + state.buy + qty <= 0
  end
  return state.position > 0 and state.position - state.sell - qty >= 0
end

-- Writes a symbol whose shares have changed, the running total with it, and the next sequence number.
local function commit_symbol(sequence, symbol, state)
  local prefix = symbol_prefix(symbol)
  local exposure = whole(worst_case(state) * state.mark, 'exposure')
  local gross = whole(redis.call('HGET', BOOK, 'gross_ticks'), 'gross_ticks') - state.exposure + exposure
  return commit(sequence, 'gross_ticks', whole(gross, 'gross_ticks'),
    prefix .. 'position', whole(state.position, 'position'), prefix .. 'buy', state.buy, prefix .. 'sell', state.sell,
    prefix .. 'mark', state.mark, prefix .. 'exposure', exposure)
end

-- A reservation is one field, words with a space between: it is written and removed as a whole.
local function order_text(order)
  return string.format('%s %s %.0f %.0f %.0f %s %s', order.symbol, order.side, order.qty, order.remaining,
    order.sequence, order.session, order.digest)
end

local function read_order(text)
  local symbol, side, qty, remaining, sequence, session, digest =
    string.match(text, '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+)$')
  return {
    symbol = symbol,
    side = side,
    qty = whole(qty, 'qty'),
    remaining = positive(remaining, 'remaining'),
    sequence = whole(sequence, 'sequence'),
    session = session,
    digest = digest,
  }
end

local function end_order(id, sequence)
  redis.call('HSET', HISTORY, 'order:' .. id, sequence)
  redis.call('HDEL', BOOK, 'order:' .. id)
end

local function write_pairs(key, first, last)
  for at = first, last, 1000 do -- unpack has room for a few thousand values
    redis.call('HSET', key, unpack(ARGV, at, math.min(at + 999, last)))
  end
end

-- ARGV: how many of the values that follow belong to the book, field and value in turn; the rest is the history.
local function replace_book()
  local last = 1 + whole(ARGV[1], 'count')
  redis.call('DEL', BOOK, HISTORY)
  write_pairs(BOOK, 2, last)
  write_pairs(HISTORY, last + 1, #ARGV)
  redis.call('HSET', BOOK, 'initialised_at_ms', now_ms())
  return {OK, whole(redis.call('HGET', BOOK, 'sequence'), 'sequence')}
end
