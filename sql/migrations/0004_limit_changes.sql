-- Limits with symbols' own and temporary values, their change log, the reconciliation gate, and quarantined symbols.

alter table ledger.books
    add column limit_overrides jsonb not null default '[]',
    add column gate text not null default 'closed' check (gate in ('open', 'closed')),
    add column gate_reason text not null default 'nothing was reconciled yet';
comment on column ledger.books.limits is 'The limits that stay, by name. What lies over them is in limit_overrides.';
comment on column ledger.books.limit_overrides is
    'Symbols'' own limits and those that expire, oldest first; of each kind the newest that has not expired binds.';
comment on column ledger.books.gate is 'Closed until ledger, book and broker were seen to agree: only reducing orders clear.';

create table ledger.limit_changes (
    id          bigint generated always as identity primary key,
    account     text not null,
    limit_name  text not null,
    symbol      text,
    from_value  text,
    to_value    text not null,
    expires_at  timestamptz,
    operator    text not null,
    reason      text not null,
    at          timestamptz not null default clock_timestamp()
);
comment on table ledger.limit_changes is
    'Every change of a limit: who, why, from, to, until when. from_value is null for the first value an account got.';
create index limit_changes_by_account on ledger.limit_changes (account, id);
create trigger append_only before update or delete on ledger.limit_changes
    for each row execute function ledger.refuse_change();

create table ledger.quarantined_symbols (
    account  text not null,
    symbol   text not null,
    reason   text not null,
    until    timestamptz,
    at       timestamptz not null default now(),
    primary key (account, symbol)
);
comment on table ledger.quarantined_symbols is
    'Symbols that may not trade for now. until: when that ends by itself; null: when it is released.';
