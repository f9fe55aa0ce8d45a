-- Replaces the whole book in one step by what ledger and broker know.
return replace_book()
