-- Creates the first book of an account. It must never replace one.
if call('EXISTS', BOOK) == 1 then
  return {'exists'}
end
return replace_book()
