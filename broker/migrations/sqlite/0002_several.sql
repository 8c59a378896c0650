-- What a broker that runs beside others, or after this one, must find: when a session was opened and ended,
-- who takes it to its end, and which run it is for while it lives.
ALTER TABLE sessions ADD COLUMN opened_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN ended_at INTEGER;
ALTER TABLE sessions ADD COLUMN end_note TEXT;
ALTER TABLE sessions ADD COLUMN live_run TEXT;
ALTER TABLE sessions ADD COLUMN claimed_by TEXT NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN claimed_until INTEGER NOT NULL DEFAULT 0;
-- 0: not in the recordings yet. 1: there. 2: there, and nowhere else.
ALTER TABLE sessions ADD COLUMN filed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN filed_at INTEGER NOT NULL DEFAULT 0;
UPDATE sessions SET filed = 2 WHERE sealed = 1;
CREATE UNIQUE INDEX sessions_live_run ON sessions (live_run);
CREATE INDEX sessions_until ON sessions (until) WHERE end_reason IS NULL;
CREATE INDEX sessions_unfiled ON sessions (claimed_until) WHERE end_reason IS NOT NULL AND filed < 2;

-- How far records are known to reach, to find a file that was cut while the broker was down.
CREATE TABLE records (
    session TEXT PRIMARY KEY,
    entries INTEGER NOT NULL,
    head TEXT NOT NULL,
    notices INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
INSERT INTO records (session, entries, head)
    SELECT id, entries, coalesce(head, '') FROM sessions;
ALTER TABLE sessions DROP COLUMN entries;
ALTER TABLE sessions DROP COLUMN head;

-- When shims were last heard of, in milliseconds, and when a broker last listened.
CREATE TABLE heard (session TEXT PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX heard_at ON heard (at);
INSERT INTO heard SELECT id, 0 FROM sessions WHERE end_reason IS NULL;
CREATE TABLE listening (id INTEGER PRIMARY KEY, at INTEGER NOT NULL) STRICT;
INSERT INTO listening VALUES (1, 0);

CREATE INDEX leases_session ON leases (session);
CREATE INDEX used_tokens_forget ON used_tokens (forget_after);
ALTER TABLE gateways ADD COLUMN heard_at INTEGER NOT NULL DEFAULT 0;

-- Proofs of possession that were used, where brokers share the store.
CREATE TABLE used_proofs (proof TEXT PRIMARY KEY, forget_after INTEGER NOT NULL) STRICT, WITHOUT ROWID;
