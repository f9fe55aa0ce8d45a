-- A change of the account's state, decided in the ledger: made and taken into the ledger's new epoch in one step, and only
-- on the book of the epoch before it. So no two changes are ever made in another order than the ledger's.
-- ARGV[1..3]: epoch before, epoch after, lowest sequence the ledger knows. '' for the first: no ledger asks, the epoch
-- stays. The verb's own arguments follow.

-- The account's record, in the new epoch already; or nil and the reply: missing, stale, or done already.
local function open_change()
  local account = open_book()
  if not account then
    return nil, {MISSING}
  end
  if ARGV[1] ~= '' then
    local from, to, seen = whole(ARGV[1], 'epoch before'), whole(ARGV[2], 'epoch after'), whole(ARGV[3], 'sequence seen')
    local has = account[EPOCH]
    if account[SEQUENCE] < seen or (has ~= from and has ~= to) then
      return nil, {STALE}
    end
    if has == to then
      return nil, {OK, account[SEQUENCE]}
    end
    account[EPOCH] = to
  end
  return account
end

local function commit_change(account, ...)
  local reply = commit(account, ...)
  if ARGV[1] ~= '' then
    call('HSET', HISTORY, 'epoch', format('%d', account[EPOCH]))
  end
  return reply
end

-- The state is the wanted one already: only the epoch moves, if it does.
local function no_change(account)
  if ARGV[1] ~= '' then
    return commit_change(account)
  end
  return {OK, account[SEQUENCE]}
end
