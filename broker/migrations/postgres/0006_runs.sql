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
    started_at BIGINT NOT NULL,
    ended_at BIGINT,
    reason TEXT,
    exit_code BIGINT,
    -- 0: its record has not been read yet. 1: it has. 2: there is nothing in it that can be read.
    indexed BIGINT NOT NULL DEFAULT 0,
    -- Until when nobody else reads it.
    claimed_until BIGINT NOT NULL DEFAULT 0,
    -- How far its record could be believed when it was read.
    whole TEXT,
    -- Whether it went to its end by itself, with exit code 0, and nothing of it was refused.
    green BIGINT NOT NULL DEFAULT 0,
    statements BIGINT NOT NULL DEFAULT 0,
    refused BIGINT NOT NULL DEFAULT 0,
    would_refuse BIGINT NOT NULL DEFAULT 0,
    over_budget BIGINT NOT NULL DEFAULT 0,
    masked BIGINT NOT NULL DEFAULT 0,
    changes BIGINT NOT NULL DEFAULT 0,
    row_count BIGINT NOT NULL DEFAULT 0,
    byte_count BIGINT NOT NULL DEFAULT 0,
    failed BIGINT NOT NULL DEFAULT 0,
    approvals BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX runs_unread ON runs (session) WHERE indexed = 0;
CREATE INDEX runs_green ON runs (trust_rule, session) WHERE green = 1;
CREATE INDEX runs_by_rule ON runs (trust_rule, session);
CREATE INDEX grants_by_resource ON grants (resource, session);
CREATE INDEX grants_by_policy ON grants (policy, session);
INSERT INTO runs (session, repository, repository_id, git_ref, workflow, job, actor, event, run_url, trust_rule,
        started_at)
    SELECT id, coalesce(identity::json ->> 'repository', ''),
        coalesce(identity::json -> 'run' ->> 'repository_id', ''),
        coalesce(identity::json ->> 'git_ref', ''), coalesce(identity::json ->> 'workflow', ''),
        coalesce(identity::json -> 'run' ->> 'job', ''), coalesce(identity::json ->> 'actor', ''),
        coalesce(identity::json ->> 'event', ''), identity::json ->> 'run_url', trust_rule, opened_at
    FROM sessions;
