-- Events carry who says so and when it happened there; fills that were only inferred give way to the real ones.

alter table ledger.order_events
    add column source text not null default 'system' check (source in ('system', 'manual', 'reconciliation', 'broker')),
    add column broker_at timestamptz;
comment on column ledger.order_events.broker_at is 'The instant the broker gave, where it gave one; `at` is ours.';

alter table ledger.orders
    add column state_source text not null default 'system',
    add column state_at timestamptz not null default clock_timestamp();
comment on column ledger.orders.state is 'Derived from order_events; kept here to be found by. So are state_source and state_at.';

alter table ledger.fills
    add column kind text not null default 'execution' check (kind in ('execution', 'synthetic')),
    add column cost_after numeric not null default 0,
    add column told_qty numeric not null default 0;
update ledger.fills set told_qty = qty where posted;
comment on column ledger.fills.kind is
    'synthetic: inferred from the broker''s cumulative figures because the execution was missed; superseded by it later.';
comment on column ledger.fills.cost_after is 'Dollars paid for the shares held after it, signed.';
comment on column ledger.fills.told_qty is 'Shares of it that the guard knows of.';

create table ledger.superseded_fills (
    id            bigint generated always as identity primary key,
    execution_id  text not null unique references ledger.fills,
    superseded_by text not null references ledger.fills,
    at            timestamptz not null default clock_timestamp()
);
create trigger append_only before update or delete on ledger.superseded_fills
    for each row execute function ledger.refuse_change();

create view ledger.effective_fills as
    select f.* from ledger.fills f
     where not exists (select 1 from ledger.superseded_fills s where s.execution_id = f.execution_id);
comment on view ledger.effective_fills is
    'The fills that count; replaying them by session, executed_at, execution_id rebuilds every position.';
create index fills_by_moment on ledger.fills (account, symbol, session, executed_at, execution_id);

alter table ledger.positions add column cost numeric not null default 0;
comment on column ledger.positions.cost is 'Dollars paid for the shares held, signed; the average price is cost / qty.';
update ledger.positions set cost = qty * average_price;
update ledger.fills set cost_after = position_after * average_after;

create trigger facts_stay before update of execution_id, account, client_order_id, symbol, side, qty, price, fee, session,
        executed_at, booked_at, seq, kind on ledger.fills
    for each row execute function ledger.refuse_change();
