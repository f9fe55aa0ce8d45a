-- What the guard judged an order at: the price of now where its own had become too old, so no column of the order says it.

alter table ledger.orders add column judged_price numeric check (judged_price > 0);
comment on column ledger.orders.judged_price is
    'Dollars a share whose exposure the guard holds for it. Null: never cleared, or cleared before this was recorded.';
