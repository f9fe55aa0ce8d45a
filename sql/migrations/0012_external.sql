-- What happens in the account without us: shares and working orders that no order of ours explains, what an operator
-- accepted of them, and when the system was started.

alter table ledger.fills
    alter column client_order_id drop not null,
    drop constraint fills_kind_check,
    add constraint fills_kind_check check (kind in ('execution', 'synthetic', 'external')),
    add constraint fills_external_check check ((kind = 'external') = (client_order_id is null));
comment on column ledger.fills.kind is
    'synthetic: inferred from the broker''s cumulative figures because the execution was missed; superseded by it later. '
    'external: the broker''s position changed without an order of ours; priced at what was known of the symbol then.';

create table ledger.external_orders (
    account          text not null,
    broker_order_id  text not null,
    client_order_id  text not null,
    symbol           text not null,
    side             text not null check (side in ('buy', 'sell')),
    qty              numeric not null check (qty > 0),
    filled_qty       numeric not null check (filled_qty >= 0),
    price            numeric not null check (price > 0),
    first_seen       timestamptz not null default clock_timestamp(),
    ended_at         timestamptz,
    accepted_at      timestamptz,
    primary key (account, broker_order_id)
);
comment on table ledger.external_orders is
    'Orders that others placed in the account. While one works it is reserved in the book, at this price a share.';

create table ledger.external_acceptances (
    id        bigint generated always as identity primary key,
    account   text not null,
    symbol    text not null,
    qty       numeric not null,
    operator  text not null,
    reason    text not null,
    at        timestamptz not null default clock_timestamp()
);
comment on column ledger.external_acceptances.qty is
    'Signed shares of all external fills of the symbol so far: what exceeds them was not accepted.';
create trigger append_only before update or delete on ledger.external_acceptances
    for each row execute function ledger.refuse_change();

create table ledger.starts (
    id       bigint generated always as identity primary key,
    account  text not null,
    at       timestamptz not null default clock_timestamp()
);
comment on table ledger.starts is 'Each closes the gate until ledger, book and broker were seen to agree after it.';
create trigger append_only before update or delete on ledger.starts
    for each row execute function ledger.refuse_change();

select ledger.chain_table('external_acceptances', 'id');
select ledger.chain_table('starts', 'id');
