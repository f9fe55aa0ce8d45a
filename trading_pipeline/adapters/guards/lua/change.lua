-- A change of the account's state, decided in the ledger: made and taken into the ledger's new epoch in one step, and only
-- on the book of the epoch before it. So no two changes are ever made in another order than the ledger's.
-- ARGV[1..3]: epoch before, epoch after, lowest sequence the ledger knows. '' for all three: no ledger asks, the epoch
-- stays. The verb's own arguments follow.
local next_epoch

-- The sequence number and the raw values asked for; or nil and the reply: missing, stale, or done already.
local function open_change(...)
  local sequence, epoch = open_book('epoch')
  if not sequence then
    return nil, {MISSING}
  end
  if ARGV[1] ~= '' then
    local from, to, seen = whole(ARGV[1], 'epoch before'), whole(ARGV[2], 'epoch after'), whole(ARGV[3], 'sequence seen')
    local has = whole(epoch, 'epoch')
    if sequence < seen or (has ~= from and has ~= to) then
      return nil, {STALE}
    end
    if has == to then
      return nil, {OK, sequence}
    end
    next_epoch = string.format('%d', to)
  end
  return open_book(...)
end

local function commit_change(sequence, ...)
  if next_epoch then
    redis.call('HSET', BOOK, 'epoch', next_epoch)
    redis.call('HSET', HISTORY, 'epoch', next_epoch)
  end
  return commit(sequence, ...)
end

-- The state is the wanted one already: only the epoch moves, if it does.
local function no_change(sequence)
  if next_epoch then
    return commit_change(sequence)
  end
  return {OK, sequence}
end
