-- Who is signed in: the SHA-256 of a browser's cookie, and what the provider said of the person. `until` is in seconds.
CREATE TABLE people_sessions (
    token_hash TEXT PRIMARY KEY,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    name TEXT NOT NULL,
    groups TEXT NOT NULL,
    until BIGINT NOT NULL,
    signed_in_at BIGINT NOT NULL
);
CREATE INDEX people_sessions_until ON people_sessions (until);
