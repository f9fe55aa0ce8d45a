-- Proof of what was committed, for the one who lost the connection at COMMIT.

create table ledger.commits (
    id       uuid primary key,
    claimed  boolean not null,
    at       timestamptz not null default clock_timestamp()
);
comment on table ledger.commits is
    'A row is written with the COMMIT of every transaction that wrote. claimed: by somebody who asked, before the transaction committed; so it never will.';
create index commits_by_age on ledger.commits (at);
