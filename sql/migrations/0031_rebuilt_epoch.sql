-- A clearance of a book that was replaced meanwhile holds nothing any more: what the newest book was made of is what was
-- recorded before its epoch began.

alter table ledger.books add column rebuilt_epoch bigint not null default 0 check (rebuilt_epoch >= 0);
comment on column ledger.books.rebuilt_epoch is 'The epoch in which the Redis book was last written anew, or is to be.';
