-- A lease is stored before its credential is made, with what finds it again, until it is taken back.
-- `wanted`: may be there, nobody has it. `out`: somebody has it. `revoking`: being taken back. `failed`: could not be.
ALTER TABLE leases ADD COLUMN state TEXT NOT NULL DEFAULT 'out';
ALTER TABLE leases ADD COLUMN handle TEXT NOT NULL DEFAULT '{"kind":"static"}';
ALTER TABLE leases ADD COLUMN username TEXT NOT NULL DEFAULT '';
-- Milliseconds.
ALTER TABLE leases ADD COLUMN wanted_at BIGINT NOT NULL DEFAULT 0;
-- Whether it was out once, so that the record tells of it.
ALTER TABLE leases ADD COLUMN handed_out BIGINT NOT NULL DEFAULT 1;
-- When it ends by itself, in seconds.
ALTER TABLE leases ADD COLUMN until BIGINT NOT NULL DEFAULT 0;
-- When it has to be made to last longer, in milliseconds. 0: never.
ALTER TABLE leases ADD COLUMN renew_at BIGINT NOT NULL DEFAULT 0;
-- Attempts to take it back; when the next is due, which is also how long nobody else tries.
ALTER TABLE leases ADD COLUMN tries BIGINT NOT NULL DEFAULT 0;
ALTER TABLE leases ADD COLUMN next_try BIGINT NOT NULL DEFAULT 0;
ALTER TABLE leases ADD COLUMN problem TEXT;
CREATE INDEX leases_due ON leases (next_try) WHERE state <> 'out';
