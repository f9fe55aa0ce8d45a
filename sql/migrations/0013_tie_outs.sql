-- At the end of a session: were ledger, book and broker seen to agree? The newest answer of an account counts.

create table ledger.tie_outs (
    id           bigint generated always as identity primary key,
    account      text not null,
    session      date not null,
    agrees       boolean not null,
    positions    jsonb not null,
    differences  jsonb not null,
    operator     text not null,
    at           timestamptz not null default clock_timestamp()
);
comment on column ledger.tie_outs.positions is 'Signed shares by symbol, as the ledger held them.';
create index tie_outs_by_account on ledger.tie_outs (account, id);
create trigger append_only before update or delete on ledger.tie_outs
    for each row execute function ledger.refuse_change();

select ledger.chain_table('tie_outs', 'id');
