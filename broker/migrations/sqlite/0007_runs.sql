-- Runs as people look for them: one row a session, written with it, completed when its record is sealed.
CREATE TABLE runs (
    session TEXT PRIMARY KEY,
    repository TEXT NOT NULL DEFAULT '',
    repository_id TEXT NOT NULL DEFAULT '',
    git_ref TEXT NOT NULL DEFAULT '',
    workflow TEXT NOT NULL DEFAULT '',
    job TEXT NOT NULL DEFAULT '',
    actor TEXT NOT NULL DEFAULT '',
    event TEXT NOT NULL DEFAULT '',
    run_url TEXT,
    trust_rule TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at INTEGER,
    reason TEXT,
    exit_code INTEGER,
    -- 0: its record has not been read yet. 1: it has. 2: there is nothing in it that can be read.
    indexed INTEGER NOT NULL DEFAULT 0,
    -- Until when nobody else reads it.
    claimed_until INTEGER NOT NULL DEFAULT 0,
    -- How far its record could be believed when it was read.
    whole TEXT,
    -- Whether it went to its end by itself, with exit code 0, and nothing of it was refused.
    green INTEGER NOT NULL DEFAULT 0,
    statements INTEGER NOT NULL DEFAULT 0,
    refused INTEGER NOT NULL DEFAULT 0,
    would_refuse INTEGER NOT NULL DEFAULT 0,
    over_budget INTEGER NOT NULL DEFAULT 0,
    masked INTEGER NOT NULL DEFAULT 0,
    changes INTEGER NOT NULL DEFAULT 0,
    row_count INTEGER NOT NULL DEFAULT 0,
    byte_count INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    approvals INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX runs_unread ON runs (session) WHERE indexed = 0;
CREATE INDEX runs_green ON runs (trust_rule, session) WHERE green = 1;
CREATE INDEX runs_by_rule ON runs (trust_rule, session);
CREATE INDEX grants_by_resource ON grants (resource, session);
CREATE INDEX grants_by_policy ON grants (policy, session);
INSERT INTO runs (session, repository, repository_id, git_ref, workflow, job, actor, event, run_url, trust_rule,
        started_at)
    SELECT id, coalesce(json_extract(identity, '$.repository'), ''),
        coalesce(json_extract(identity, '$.run.repository_id'), ''),
        coalesce(json_extract(identity, '$.git_ref'), ''), coalesce(json_extract(identity, '$.workflow'), ''),
        coalesce(json_extract(identity, '$.run.job'), ''), coalesce(json_extract(identity, '$.actor'), ''),
        coalesce(json_extract(identity, '$.event'), ''), json_extract(identity, '$.run_url'), trust_rule, opened_at
    FROM sessions;
