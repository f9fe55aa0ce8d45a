-- What a stream of the broker told: kept as it arrived, booked from here, and kept afterwards.

create table ledger.inbox (
    id           bigint generated always as identity primary key,
    account      text not null,
    digest       bytea not null,
    source       text not null,
    raw          bytea not null,
    received_at  timestamptz not null default clock_timestamp(),
    copies       integer not null default 1 check (copies > 0),
    state        text not null default 'new' check (state in ('new', 'applied', 'ignored', 'dead')),
    reason       text not null default '',
    settled_at   timestamptz,
    unique (account, digest)
);
comment on column ledger.inbox.digest is 'SHA-256 of raw: a frame that was sent again is counted in copies, not kept twice.';
comment on column ledger.inbox.state is
    'new: to be applied, or waiting for what it builds on; ignored: of no order of ours; dead: cannot be applied, see reason.';
create index inbox_to_do on ledger.inbox (account, id) where state = 'new';
create index inbox_dead on ledger.inbox (account, id) where state = 'dead';
create trigger facts_stay before update of id, account, digest, source, raw, received_at on ledger.inbox
    for each row execute function ledger.refuse_change();
create trigger no_deletes before delete on ledger.inbox
    for each row execute function ledger.refuse_change();

create table ledger.execution_totals (
    execution_id  text primary key references ledger.fills,
    filled_qty    numeric not null
);
comment on table ledger.execution_totals is
    'Shares of its order filled with an execution, it included, as the broker told. They only grow, so they tell one execution under two ids from two executions.';
create trigger append_only before update or delete on ledger.execution_totals
    for each row execute function ledger.refuse_change();

create table ledger.execution_names (
    name          text primary key,
    execution_id  text not null references ledger.fills
);
comment on table ledger.execution_names is 'Other ids by which a source of the broker calls an execution that is booked.';
create trigger append_only before update or delete on ledger.execution_names
    for each row execute function ledger.refuse_change();

select ledger.chain_table('inbox', 'id', 'copies', 'state', 'reason', 'settled_at');
select ledger.chain_table('execution_totals', 'execution_id');
select ledger.chain_table('execution_names', 'name');
