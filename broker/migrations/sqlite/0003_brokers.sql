-- Brokers as they were heard of last, each with the digest of the files that it runs by.
CREATE TABLE brokers (
    id TEXT PRIMARY KEY,
    version TEXT NOT NULL,
    url TEXT NOT NULL,
    digest TEXT NOT NULL,
    -- Why it does not run by the files as they are, if it does not.
    problem TEXT,
    started_at INTEGER NOT NULL,
    heard_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
