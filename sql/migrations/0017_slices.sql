-- Large orders worked over time: a parent, its slices with their due times, and what became of each. All of it is only
-- ever added to; where a slice or a parent stands follows from it and from the orders that were made of the slices.

create table ledger.parents (
    parent_id              text primary key check (parent_id ~ '^[0-9a-f]{24}$'),
    request_digest         text not null,
    account                text not null,
    strategy_id            text not null,
    session                date not null,
    trade_session          date not null check (trade_session > session),
    symbol                 text not null,
    side                   text not null check (side in ('buy', 'sell')),
    qty                    bigint not null check (qty > 0),
    unplanned              bigint not null check (unplanned >= 0 and unplanned < qty),
    interval_microseconds  bigint not null check (interval_microseconds > 0),
    adv_shares             bigint not null check (adv_shares > 0),
    max_adv_bps            integer not null,
    max_volume_bps         integer,
    max_slice_shares       bigint not null check (max_slice_shares > 0),
    min_slice_shares       bigint not null check (min_slice_shares > 0),
    when_late              text not null check (when_late in ('run', 'expire')),
    grace_seconds          integer not null check (grace_seconds >= 0),
    repeat                 integer not null check (repeat >= 0),
    warnings               jsonb not null,
    operator               text not null,
    reason                 text not null,
    run_id                 text not null,
    created_at             timestamptz not null default clock_timestamp()
);
comment on column ledger.parents.unplanned is 'Shares for which the caps left no room: no slice has them.';
comment on column ledger.parents.max_slice_shares is 'What no slice exceeds while the traded volume is not known.';
create index parents_by_account on ledger.parents (account, trade_session);

create table ledger.slices (
    id         bigint generated always as identity primary key,
    parent_id  text not null references ledger.parents,
    number     integer not null check (number > 0),
    qty        bigint not null check (qty > 0),
    due_at     timestamptz not null,
    unique (parent_id, number)
);

create table ledger.slice_events (
    id               bigint generated always as identity primary key,
    parent_id        text not null,
    number           integer not null,
    kind             text not null check (kind in ('waiting', 'ordered', 'sent', 'carried', 'expired')),
    qty              bigint not null default 0 check ((kind = 'ordered') = (qty > 0) and qty >= 0),
    client_order_id  text check ((kind = 'ordered') = (client_order_id is not null)),
    reason           text not null default '',
    volume           bigint check (volume >= 0),
    volume_until     timestamptz,
    retry_at         timestamptz,
    at               timestamptz not null,
    recorded_at      timestamptz not null default clock_timestamp(),
    foreign key (parent_id, number) references ledger.slices (parent_id, number)
);
comment on column ledger.slice_events.kind is
    'waiting: not sent now, and why; ordered: an order was made of it; sent: that order left us; carried: its shares went '
    'on to later slices; expired: never ordered, for good.';
comment on column ledger.slice_events.at is 'The sender''s time, by which due times are judged.';
comment on column ledger.slice_events.volume is 'Shares traded since the slice before until volume_until; null: not known.';
create unique index slices_are_decided_once on ledger.slice_events (parent_id, number)
    where kind in ('ordered', 'carried', 'expired');
create index slice_events_by_slice on ledger.slice_events (parent_id, number, id);

create table ledger.parent_cancellations (
    id         bigint generated always as identity primary key,
    parent_id  text not null unique references ledger.parents,
    operator   text not null,
    reason     text not null,
    at         timestamptz not null default clock_timestamp()
);

alter table ledger.orders
    add column parent_id text,
    add constraint orders_of_slices foreign key (parent_id, repeat) references ledger.slices (parent_id, number);
comment on column ledger.orders.parent_id is 'The parent whose slice this is; `repeat` is then the number of the slice.';
create unique index one_order_a_slice on ledger.orders (parent_id, repeat) where parent_id is not null;

-- Whoever changes what a parent has makes the others wait: what is counted under the lock is all there is.
create function ledger.lock_parent() returns trigger language plpgsql as $$
begin
    perform from ledger.parents p where p.parent_id = new.parent_id for update;
    return new;
end $$;
create trigger one_at_a_time before insert on ledger.slice_events
    for each row execute function ledger.lock_parent();
create trigger one_at_a_time before insert on ledger.parent_cancellations
    for each row execute function ledger.lock_parent();

create function ledger.check_child() returns trigger language plpgsql as $$
declare
    parent ledger.parents;
    before numeric;
begin
    select * into parent from ledger.parents p where p.parent_id = new.parent_id for update;
    if (new.account, new.strategy_id, new.symbol, new.side, new.trade_session)
       is distinct from (parent.account, parent.strategy_id, parent.symbol, parent.side, parent.trade_session) then
        raise exception 'order % is not of the account, strategy, symbol, side and session of its parent %',
            new.client_order_id, new.parent_id using errcode = 'check_violation';
    end if;
    if exists (select from ledger.parent_cancellations c where c.parent_id = new.parent_id) then
        raise exception 'parent % was cancelled: no order is made of its slices', new.parent_id
            using errcode = 'check_violation';
    end if;
    if not exists (select from ledger.slice_events e
                    where (e.parent_id, e.number, e.kind) = (new.parent_id, new.repeat, 'ordered')
                      and (e.client_order_id, e.qty) = (new.client_order_id, new.qty)) then
        raise exception 'slice % of parent % was not decided to become order %',
            new.repeat, new.parent_id, new.client_order_id using errcode = 'check_violation';
    end if;
    select coalesce(sum(o.qty), 0) into before from ledger.orders o where o.parent_id = new.parent_id;
    if before + new.qty > parent.qty - parent.unplanned then
        raise exception 'parent % has % shares: orders over % and % more would exceed them',
            new.parent_id, parent.qty - parent.unplanned, before, new.qty using errcode = 'check_violation';
    end if;
    return new;
end $$;
create trigger children_within_parent before insert on ledger.orders
    for each row when (new.parent_id is not null) execute function ledger.check_child();

create function ledger.check_slices() returns trigger language plpgsql as $$
declare
    parent ledger.parents;
    planned numeric;
begin
    select * into parent from ledger.parents p where p.parent_id = new.parent_id;
    select coalesce(sum(s.qty), 0) into planned from ledger.slices s where s.parent_id = new.parent_id;
    if planned + parent.unplanned <> parent.qty then
        raise exception 'the slices of parent % have % shares, not %', new.parent_id, planned,
            parent.qty - parent.unplanned using errcode = 'check_violation';
    end if;
    return null;
end $$;
create constraint trigger slices_sum_to_parent after insert on ledger.parents deferrable initially deferred
    for each row execute function ledger.check_slices();
create constraint trigger slices_sum_to_parent after insert on ledger.slices deferrable initially deferred
    for each row execute function ledger.check_slices();

-- An order must not leave its parent, nor grow: its facts stay.
create trigger slice_stays before update of parent_id, repeat, qty on ledger.orders
    for each row when (old.parent_id is not null) execute function ledger.refuse_change();

create trigger append_only before update or delete on ledger.parents
    for each row execute function ledger.refuse_change();
create trigger append_only before update or delete on ledger.slices
    for each row execute function ledger.refuse_change();
create trigger append_only before update or delete on ledger.slice_events
    for each row execute function ledger.refuse_change();
create trigger append_only before update or delete on ledger.parent_cancellations
    for each row execute function ledger.refuse_change();

create view ledger.slice_states as
    select s.parent_id, s.number, s.qty, s.due_at,
           case when o.client_order_id is not null then o.state
                when decided.kind is not null then decided.kind
                when c.parent_id is not null then 'canceled'
                when newest.kind = 'waiting' then 'waiting'
                else 'planned' end as state,
           coalesce(o.qty, 0) as ordered, coalesce(o.filled_qty, 0) as filled, o.client_order_id,
           coalesce(nullif(o.reason, ''), decided.reason, newest.reason, '') as reason,
           decided.at as decided_at, decided.volume, decided.volume_until, sent.at as sent_at, newest.retry_at,
           coalesce(waited.reason, '') as waited_for
      from ledger.slices s
      left join ledger.orders o on o.parent_id = s.parent_id and o.repeat = s.number
      left join ledger.slice_events decided on decided.parent_id = s.parent_id and decided.number = s.number
           and decided.kind in ('ordered', 'carried', 'expired')
      left join ledger.parent_cancellations c on c.parent_id = s.parent_id
      left join lateral (select min(e.at) as at from ledger.slice_events e
                          where (e.parent_id, e.number, e.kind) = (s.parent_id, s.number, 'sent')) sent on true
      left join lateral (select e.kind, e.reason, e.retry_at from ledger.slice_events e
                          where (e.parent_id, e.number) = (s.parent_id, s.number) order by e.id desc limit 1) newest on true
      left join lateral (select e.reason from ledger.slice_events e
                          where (e.parent_id, e.number, e.kind) = (s.parent_id, s.number, 'waiting')
                          order by e.id desc limit 1) waited on true;
comment on view ledger.slice_states is
    'Where each slice stands: as its order does, else as decided (carried, expired), else canceled, waiting or planned.';

select ledger.chain_table('parents', 'parent_id');
select ledger.chain_table('slices', 'id');
select ledger.chain_table('slice_events', 'id');
select ledger.chain_table('parent_cancellations', 'id');
