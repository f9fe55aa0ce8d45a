-- A tie-out may agree but for symbols that the broker has not restated yet: their orders wait, the others do not.

alter table ledger.tie_outs add column awaited jsonb;
comment on column ledger.tie_outs.awaited is
    'Differences that a recorded corporate action explains, by symbol. They do not count as differences.';
