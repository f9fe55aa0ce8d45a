-- Orders that replace one another: a chain, of which at most one order works at the broker.

alter table ledger.orders
    add column replaces text references ledger.orders,
    add column chain text references ledger.orders,
    add column place integer not null default 0 check (place >= 0),
    add column carried_qty numeric not null default 0 check (carried_qty >= 0);
comment on column ledger.orders.replaces is 'The order whose place this one is to take. Null: none.';
comment on column ledger.orders.chain is
    'The first order of its chain, under whose id the guard holds the one reservation of all. Null: it was never replaced.';
comment on column ledger.orders.place is 'Its place in the chain, from 0.';
comment on column ledger.orders.carried_qty is
    'Shares that the orders before it in the chain have filled: its qty is the total, so they count toward it.';
create index orders_by_chain on ledger.orders (chain, place) where chain is not null;
