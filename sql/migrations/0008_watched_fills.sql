-- Up to which fill the risk monitor has judged the losses of an account: what a crash left unjudged is judged later.

alter table ledger.monitors add column watched_fill bigint not null default 0;
comment on column ledger.monitors.watched_fill is 'The newest `ledger.fills.seq` whose loss was judged.';
create index fills_by_booking on ledger.fills (account, seq);
