-- The transparency log. One row says how large it is; who adds leaves changes that row from what he saw, so a place is
-- given once.
CREATE TABLE log (id INTEGER PRIMARY KEY, origin TEXT NOT NULL, size INTEGER NOT NULL) STRICT;
CREATE TABLE log_leaves (
    idx INTEGER PRIMARY KEY,
    -- `key`, `seal` or `deleted`, and of which key or session: each once.
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    line TEXT NOT NULL,
    UNIQUE (kind, name)
) STRICT;
-- The hashes of complete subtrees, which never change.
CREATE TABLE log_nodes (
    level INTEGER NOT NULL,
    idx INTEGER NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (level, idx)
) STRICT, WITHOUT ROWID;
-- Signed roots: one for a size.
CREATE TABLE checkpoints (size INTEGER PRIMARY KEY, note TEXT NOT NULL, made_at INTEGER NOT NULL) STRICT;

-- The leaf of a record that is sealed.
ALTER TABLE records ADD COLUMN leaf TEXT;
-- 1: the seal is in the log. 2: sealed before there was a log.
ALTER TABLE sessions ADD COLUMN logged INTEGER NOT NULL DEFAULT 0;
UPDATE sessions SET logged = 2 WHERE sealed = 1;
CREATE INDEX sessions_unlogged ON sessions (id) WHERE sealed = 1 AND logged = 0;
