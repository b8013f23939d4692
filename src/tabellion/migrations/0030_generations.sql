-- Where an entry stands among all generations of its log: one number, of which the log's first generation knows the
-- index alone. Nothing is rewritten.

comment on column consent_entries.log_index is
    'ordinal: generation - 1 from bit 48 up, index in that log below; in the first generation it is the index';
comment on column consent_entries.lifts is
    'derived: ordinals of the restrictions this grant lifted, for its own identifier, channel and purpose';
comment on column merges.log_index is
    'ordinal of the last consent entry of the two at the time; -1: none. What is later was said in between';
comment on column held_proofs.log_index is 'ordinal, as of the entry';
