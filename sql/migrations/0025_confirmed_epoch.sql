-- Which epoch the Redis book was last seen in: a book that is behind the ledger because a process died before it told
-- Redis is not one that Redis lost.

alter table ledger.books add column confirmed_epoch bigint not null default 0 check (confirmed_epoch >= 0);
update ledger.books set confirmed_epoch = epoch;
comment on column ledger.books.confirmed_epoch is
    'The newest epoch the Redis book was seen in. Older than epoch: a change was written here that nobody saw Redis take.';
