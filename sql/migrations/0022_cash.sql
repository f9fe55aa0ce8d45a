-- Cash: what the broker says moved it beside fills, where the account's cash began, and what was accepted of it.

create table ledger.cash_activities (
    id           bigint generated always as identity primary key,
    account      text not null,
    activity_id  text not null,
    type         text not null,
    kind         text not null check (kind in ('fee', 'dividend', 'interest', 'transfer', 'other')),
    symbol       text not null default '',
    amount       numeric not null,
    session      date not null,
    in_opening   boolean not null,
    document     jsonb not null,
    at           timestamptz not null default clock_timestamp(),
    unique (account, activity_id)
);
comment on table ledger.cash_activities is 'What moved the account''s cash beside fills, as the broker tells it.';
comment on column ledger.cash_activities.amount is 'Dollars added to the cash; a fee is negative.';
comment on column ledger.cash_activities.session is 'The exchange session of its day, on other days the next one.';
comment on column ledger.cash_activities.in_opening is 'Known when the opening cash was taken, which holds it already.';
comment on column ledger.cash_activities.document is 'The broker''s own words.';
create index cash_activities_by_session on ledger.cash_activities (account, session);
create trigger append_only before update or delete on ledger.cash_activities
    for each row execute function ledger.refuse_change();

create table ledger.cash_entries (
    id              bigint generated always as identity primary key,
    account         text not null,
    kind            text not null check (kind in ('opening', 'rounding', 'accepted')),
    amount          numeric not null,
    session         date not null,
    rounded_fills   bigint not null check (rounded_fills >= 0),
    activities      bigint not null check (activities >= 0),
    operator        text not null,
    reason          text not null check (reason <> ''),
    at              timestamptz not null default clock_timestamp()
);
comment on table ledger.cash_entries is
    'Cash that neither fills nor activities say: where it began, what the broker rounded, what an operator accepted.';
comment on column ledger.cash_entries.rounded_fills is 'Fills of the account until then whose amount is not in whole cents.';
comment on column ledger.cash_entries.activities is 'The newest cash activity then: those of unknown types up to it are accepted.';
create unique index one_opening on ledger.cash_entries (account) where kind = 'opening';
create index cash_entries_by_account on ledger.cash_entries (account, id);
create trigger append_only before update or delete on ledger.cash_entries
    for each row execute function ledger.refuse_change();

alter table ledger.tie_outs add column cash jsonb;
comment on column ledger.tie_outs.cash is 'Dollars: what the ledger expected, the broker''s cash, and what explains the difference.';

alter table ledger.session_pnl
    add column dividends numeric not null default 0,
    add column interest numeric not null default 0,
    add column other numeric not null default 0,
    add column transfers numeric not null default 0;
comment on column ledger.session_pnl.transfers is 'Cash paid in or out: no profit or loss, and not in equity.';

alter table exchange.clocks add column opening_cash numeric not null default 0;
comment on column exchange.clocks.opening_cash is 'Dollars the account had before its first execution.';

select ledger.chain_table('cash_activities', 'id');
select ledger.chain_table('cash_entries', 'id');
