-- What the risk monitor must not forget between two looks, whoever looks.

create table ledger.monitors (
    account               text primary key,
    peak_equity           numeric,
    peak_session          date,
    broker_errors         integer not null default 0 check (broker_errors >= 0),
    last_broker_error     text not null default '',
    last_broker_error_at  timestamptz,
    updated_at            timestamptz not null default clock_timestamp()
);
comment on column ledger.monitors.peak_equity is
    'Highest equity seen so far, dollars. It only rises, but for an operator who sets it anew; null before the first look.';
comment on column ledger.monitors.broker_errors is 'Calls in a row that the broker did not answer; any answer sets it to 0.';
