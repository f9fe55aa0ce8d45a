-- Corporate actions on what is held: each restates positions once, and counts among the fills at its own moment.

create table ledger.restatements (
    id            bigint generated always as identity primary key,
    account       text not null,
    action_id     text not null,
    kind          text not null,
    symbol        text not null,
    new_symbol    text not null,
    ratio_new     bigint not null check (ratio_new > 0),
    ratio_old     bigint not null check (ratio_old > 0),
    session       date not null,
    executed_at   timestamptz not null,
    rank          integer not null,
    before        jsonb not null,
    after         jsonb not null,
    orders        jsonb not null,
    limits        jsonb not null,
    recorded_at   timestamptz not null default clock_timestamp(),
    in_book       boolean not null default false,
    agreed_at     timestamptz,
    unique (account, action_id)
);
comment on table ledger.restatements is
    'The one fact of a corporate action: what positions, average prices, open orders and limits in shares became by it.';
comment on column ledger.restatements.executed_at is 'When it counts among fills: the midnight its session begins with in New York.';
comment on column ledger.restatements.before is 'Shares, average price and cost by symbol as they were known when it was recorded; after: the same.';
comment on column ledger.restatements.orders is 'Orders sized before it that were live: their cancellation was asked for.';
comment on column ledger.restatements.limits is 'Changes of the limits in shares that the symbol had of its own.';
comment on column ledger.restatements.in_book is 'The risk book was made anew after it.';
comment on column ledger.restatements.agreed_at is 'When the broker was seen to hold what the ledger holds, or an operator accepted that it does not.';
create index restatements_by_moment on ledger.restatements (account, session, executed_at);
create trigger facts_stay before update of id, account, action_id, kind, symbol, new_symbol, ratio_new, ratio_old, session,
        executed_at, rank, before, after, orders, limits, recorded_at on ledger.restatements
    for each row execute function ledger.refuse_change();
create trigger no_deletes before delete on ledger.restatements
    for each row execute function ledger.refuse_change();
select ledger.chain_table('restatements', 'id', 'in_book', 'agreed_at');

create table ledger.restated_positions (
    restatement_id  bigint not null references ledger.restatements,
    account         text not null,
    symbol          text not null,
    session         date not null,
    executed_at     timestamptz not null,
    execution_id    text not null,
    position_after  numeric not null default 0,
    average_after   numeric not null default 0,
    cost_after      numeric not null default 0,
    realised        numeric not null default 0,
    primary key (restatement_id, symbol)
);
comment on table ledger.restated_positions is
    'What follows from a restatement among the fills that are known: the outcome for each of its symbols, replayed when a late fill comes.';
create index restated_positions_by_moment on ledger.restated_positions (account, symbol, session, executed_at, execution_id);
