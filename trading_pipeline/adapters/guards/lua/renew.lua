-- Takes the book from one epoch to another, or to the same: a check. Nothing else of the book changes.
local from, to, min_sequence = whole(ARGV[1], 'from'), whole(ARGV[2], 'to'), whole(ARGV[3], 'min_sequence')
local sequence, epoch = open_book('epoch')
if not sequence then
  return {MISSING}
end
if whole(epoch, 'epoch') ~= from or sequence < min_sequence then
  return {STALE}
end
if to ~= from then
  redis.call('HSET', BOOK, 'epoch', to)
  redis.call('HSET', HISTORY, 'epoch', to)
end
return {OK, sequence}
