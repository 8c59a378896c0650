-- What keeps records from being deleted, until it is released.
CREATE TABLE holds (
    id TEXT PRIMARY KEY,
    -- `session` or `repository`, and which.
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    reason TEXT NOT NULL,
    since BIGINT NOT NULL
);
-- Records that are deleted, or being deleted: from when on nobody can hold them any more.
CREATE TABLE tombstones (
    session TEXT PRIMARY KEY,
    reason TEXT NOT NULL,
    -- Seconds.
    deleted_at BIGINT NOT NULL,
    -- 1: nothing is left of the record.
    done BIGINT NOT NULL DEFAULT 0,
    claimed_until BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX tombstones_open ON tombstones (claimed_until) WHERE done = 0;
CREATE INDEX sessions_by_end ON sessions (ended_at, id) WHERE sealed = 1;
