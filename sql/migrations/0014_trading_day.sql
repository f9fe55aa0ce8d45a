-- The trading day: which tie-outs ended a session, and what became of every session the account could have traded.

alter table ledger.tie_outs add column as_of timestamptz, add column final boolean;
comment on column ledger.tie_outs.as_of is 'The account''s own time: now, or the close of the session a broker of the past stands at.';
comment on column ledger.tie_outs.final is 'The session had closed: what it did is all in it. Null, of old answers, is no.';

create table ledger.session_records (
    id        bigint generated always as identity primary key,
    account   text not null,
    session   date not null,
    outcome   text not null check (outcome in ('traded', 'nothing_to_do', 'refused', 'failed', 'explained')),
    reason    text not null check (reason <> ''),
    counts    jsonb not null default '{}',
    run_id    text not null default '',
    at        timestamptz not null default clock_timestamp()
);
comment on table ledger.session_records is
    'What became of a session: its orders were sent, or why not. One that has no record and no order wants an explanation.';
comment on column ledger.session_records.counts is 'Orders of the session then: all, at the broker, refused, and symbols skipped.';
create index session_records_by_session on ledger.session_records (account, session, id);
create trigger append_only before update or delete on ledger.session_records
    for each row execute function ledger.refuse_change();

select ledger.chain_table('session_records', 'id');
