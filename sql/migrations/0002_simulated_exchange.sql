-- The simulated exchange: a stand-in for the broker, kept apart from the ledger so that the two can disagree.

create schema exchange;

create table exchange.clocks (
    account       text primary key,
    last_session  date
);
comment on column exchange.clocks.last_session is 'The last session whose open was matched; null before the first.';

create table exchange.orders (
    client_order_id  text primary key,
    broker_order_id  text not null unique,
    account          text not null,
    symbol           text not null,
    side             text not null check (side in ('buy', 'sell')),
    qty              bigint not null check (qty > 0),
    order_type       text not null,
    limit_price      numeric,
    time_in_force    text not null,
    trade_session    date not null,
    status           text not null,
    reason           text not null default '',
    filled_qty       numeric not null default 0,
    submitted_at     timestamptz not null default clock_timestamp()
);
create index exchange_orders_open on exchange.orders (account, trade_session) where status = 'accepted';

create table exchange.executions (
    seq              bigint generated always as identity primary key,
    execution_id     text not null unique,
    client_order_id  text not null references exchange.orders,
    account          text not null,
    symbol           text not null,
    side             text not null,
    qty              numeric not null check (qty > 0),
    price            numeric not null check (price > 0),
    fee              numeric not null,
    session          date not null,
    executed_at      timestamptz not null
);
