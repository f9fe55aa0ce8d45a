-- The ledger: the record of truth about what we meant to do and did.
-- Money is numeric dollars, quantities are shares, times are UTC instants, sessions are exchange dates.

create table ledger.books (
    account         text primary key,
    epoch           bigint not null default 0 check (epoch >= 0),
    high_sequence   bigint not null default 0 check (high_sequence >= 0),
    kill_switch     text not null default 'disengaged' check (kill_switch in ('disengaged', 'engaged')),
    kill_switch_reason text not null default '',
    breaker         text not null default 'open' check (breaker in ('open', 'tripped', 'quiet_period')),
    breaker_reason  text not null default '',
    quiet_until     timestamptz,
    limits          jsonb not null default '{}',
    updated_at      timestamptz not null default now()
);
comment on table ledger.books is
    'One row an account: epoch and highest sequence the ledger has seen of the Redis book, and the truth of halts and limits. Epoch 0: never initialised.';

create table ledger.operator_actions (
    id        bigint generated always as identity primary key,
    account   text not null,
    action    text not null,
    operator  text not null,
    reason    text not null,
    detail    jsonb not null default '{}',
    at        timestamptz not null default clock_timestamp()
);

create table ledger.blocked_symbols (
    account  text not null,
    symbol   text not null,
    reason   text not null,
    at       timestamptz not null default now(),
    primary key (account, symbol)
);

create table ledger.orders (
    client_order_id   text primary key check (client_order_id ~ '^[0-9a-f]{24}$'),
    account           text not null,
    strategy_id       text not null,
    session           date not null,
    trade_session     date not null check (trade_session > session),
    symbol            text not null,
    side              text not null check (side in ('buy', 'sell')),
    qty               bigint not null check (qty > 0),
    order_type        text not null,
    time_in_force     text not null,
    limit_price       numeric check (limit_price > 0),
    stop_price        numeric check (stop_price > 0),
    purpose           text not null,
    repeat            integer not null default 0,
    payload_digest    text not null,
    reference_price   numeric not null check (reference_price > 0),
    reference_source  text not null,
    reference_as_of   timestamptz not null,
    state             text not null,
    reason            text not null default '',
    broker_order_id   text,
    filled_qty        numeric not null default 0 check (filled_qty >= 0),
    filled_notional   numeric not null default 0,
    guard_epoch       bigint,
    guard_sequence    bigint,
    released          boolean not null default false,
    origin            jsonb not null default '{}',
    created_at        timestamptz not null default clock_timestamp(),
    updated_at        timestamptz not null default clock_timestamp()
);
comment on column ledger.orders.released is 'The guard has been told that the order ended: nothing of it is reserved any more.';
comment on column ledger.orders.origin is 'What caused the order: model name, version and digest, score, rank, target shares, run id.';
create index orders_by_state on ledger.orders (account, state);
create index orders_by_session on ledger.orders (account, session);

create table ledger.order_events (
    id               bigint generated always as identity primary key,
    client_order_id  text not null references ledger.orders,
    from_state       text,
    to_state         text not null,
    reason           text not null default '',
    detail           jsonb not null default '{}',
    at               timestamptz not null default clock_timestamp()
);
create index order_events_by_order on ledger.order_events (client_order_id, id);

create table ledger.risk_decisions (
    id               bigint generated always as identity primary key,
    client_order_id  text not null references ledger.orders,
    code             text not null,
    observed         bigint,
    limit_value      bigint,
    epoch            bigint,
    sequence         bigint,
    detail           text not null default '',
    at               timestamptz not null default clock_timestamp()
);
create index risk_decisions_by_order on ledger.risk_decisions (client_order_id, id);

create table ledger.fills (
    execution_id     text primary key,
    account          text not null,
    client_order_id  text not null references ledger.orders,
    symbol           text not null,
    side             text not null check (side in ('buy', 'sell')),
    qty              numeric not null check (qty > 0),
    price            numeric not null check (price > 0),
    fee              numeric not null default 0,
    session          date not null,
    executed_at      timestamptz not null,
    position_after   numeric not null,
    average_after    numeric not null,
    realised         numeric not null,
    booked_at        timestamptz not null default clock_timestamp(),
    seq              bigint generated always as identity,
    posted           boolean not null default false
);
comment on column ledger.fills.seq is 'Order of booking; replaying fills by it rebuilds every position.';
comment on column ledger.fills.posted is 'The guard has been told.';
create index fills_by_session on ledger.fills (account, session);
create index fills_unposted on ledger.fills (account) where not posted;

create table ledger.positions (
    account        text not null,
    symbol         text not null,
    qty            numeric not null default 0,
    average_price  numeric not null default 0,
    realised       numeric not null default 0,
    fees           numeric not null default 0,
    updated_at     timestamptz not null default now(),
    primary key (account, symbol)
);

create table ledger.session_pnl (
    account           text not null,
    session           date not null,
    realised          numeric not null,
    fees              numeric not null,
    unrealised        numeric not null,
    change            numeric not null,
    equity            numeric not null,
    computed_at       timestamptz not null default now(),
    primary key (account, session)
);
comment on column ledger.session_pnl.change is 'Profit or loss of the session: realised - fees + change of unrealised, dollars.';

create function ledger.refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only', tg_table_name;
end $$;

create trigger append_only before update or delete on ledger.order_events
    for each row execute function ledger.refuse_change();
create trigger append_only before update or delete on ledger.risk_decisions
    for each row execute function ledger.refuse_change();
create trigger append_only before update or delete on ledger.operator_actions
    for each row execute function ledger.refuse_change();
create trigger no_deletes before delete on ledger.fills
    for each row execute function ledger.refuse_change();
create trigger no_deletes before delete on ledger.orders
    for each row execute function ledger.refuse_change();

create table ledger.alerts (
    key      text primary key,
    kind     text not null,
    message  text not null,
    detail   jsonb not null default '{}',
    at       timestamptz not null default clock_timestamp()
);
comment on table ledger.alerts is 'What an operator should know; the key makes each alert a row of its own, once.';
