-- Identity tokens that were exchanged: each once.
CREATE TABLE used_tokens (
    issuer TEXT NOT NULL,
    jti TEXT NOT NULL,
    forget_after BIGINT NOT NULL,
    PRIMARY KEY (issuer, jti)
);
CREATE INDEX used_tokens_forget ON used_tokens (forget_after);

-- Proofs of possession that were used for what must not happen twice.
CREATE TABLE used_proofs (proof TEXT PRIMARY KEY, forget_after BIGINT NOT NULL);
CREATE INDEX used_proofs_forget ON used_proofs (forget_after);

CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    token_hash TEXT NOT NULL UNIQUE,
    key_thumbprint TEXT NOT NULL,
    identity TEXT NOT NULL,
    trust_rule TEXT NOT NULL,
    mask_key TEXT NOT NULL,
    -- Seconds; all other times are milliseconds.
    until BIGINT NOT NULL,
    opened_at BIGINT NOT NULL,
    end_reason TEXT,
    exit_code BIGINT,
    ended_at BIGINT,
    end_note TEXT,
    -- Which run it is for, while it lives and the run can be told from others.
    live_run TEXT UNIQUE,
    -- Who takes it to its end, and until when nobody else does.
    claimed_by TEXT NOT NULL DEFAULT '',
    claimed_until BIGINT NOT NULL DEFAULT 0,
    sealed BIGINT NOT NULL DEFAULT 0,
    -- 0: the record is not in the recordings yet. 1: there. 2: there, and nowhere else.
    filed BIGINT NOT NULL DEFAULT 0,
    filed_at BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX sessions_until ON sessions (until) WHERE end_reason IS NULL;
CREATE INDEX sessions_unfiled ON sessions (claimed_until) WHERE end_reason IS NOT NULL AND filed < 2;

CREATE TABLE grants (
    session TEXT NOT NULL REFERENCES sessions (id),
    resource TEXT NOT NULL,
    policy TEXT NOT NULL,
    policy_digest TEXT NOT NULL,
    until BIGINT NOT NULL,
    PRIMARY KEY (session, resource)
);

-- The texts of policies that were granted, by their SHA-256.
CREATE TABLE policies (digest TEXT PRIMARY KEY, name TEXT NOT NULL, yaml TEXT NOT NULL);

-- Gateways that a session's shim went to, each for one resource.
CREATE TABLE authorizations (
    session TEXT NOT NULL REFERENCES sessions (id),
    resource TEXT NOT NULL,
    gateway TEXT NOT NULL,
    PRIMARY KEY (session, resource, gateway)
);

-- Leases that are out.
CREATE TABLE leases (
    id TEXT PRIMARY KEY,
    session TEXT NOT NULL REFERENCES sessions (id),
    resource TEXT NOT NULL,
    holder TEXT NOT NULL
);
CREATE INDEX leases_session ON leases (session);

-- Gateways as they registered last.
CREATE TABLE gateways (
    name TEXT PRIMARY KEY,
    address TEXT NOT NULL,
    certificate TEXT NOT NULL,
    version TEXT NOT NULL,
    heard_at BIGINT NOT NULL
);

-- The end of each record and what its writers may send next. Who changes it names the end that it saw, so
-- whichever broker appends, the chain is one.
CREATE TABLE records (
    session TEXT PRIMARY KEY REFERENCES sessions (id),
    entries BIGINT NOT NULL,
    head TEXT NOT NULL,
    writers TEXT NOT NULL DEFAULT '{}',
    notices BIGINT NOT NULL DEFAULT 0,
    sealed BIGINT NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- The lines of records that are not in the recordings yet, as they were appended.
CREATE TABLE parts (
    session TEXT NOT NULL,
    first BIGINT NOT NULL,
    lines BYTEA NOT NULL,
    -- What the shim is to be told of these lines, and how much it is with all before.
    notices TEXT,
    noticed BIGINT NOT NULL,
    PRIMARY KEY (session, first)
);
CREATE INDEX parts_notices ON parts (session, noticed) WHERE notices IS NOT NULL;

-- When shims were last heard of, and when a broker last listened.
CREATE TABLE heard (session TEXT PRIMARY KEY, at BIGINT NOT NULL) WITH (fillfactor = 50);
CREATE INDEX heard_at ON heard (at);
CREATE TABLE listening (id BIGINT PRIMARY KEY, at BIGINT NOT NULL);
INSERT INTO listening VALUES (1, 0);

-- What others wait for is told to all brokers.
CREATE FUNCTION guard_tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_TABLE_NAME = 'sessions' THEN
        PERFORM pg_notify('guard_sessions', NEW.id);
    ELSIF TG_TABLE_NAME = 'records' THEN
        PERFORM pg_notify('guard_sessions', NEW.session);
    ELSE
        PERFORM pg_notify('guard_sessions', OLD.session);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER sessions_tell AFTER UPDATE OF end_reason, sealed, filed ON sessions FOR EACH ROW
    WHEN (OLD.end_reason IS DISTINCT FROM NEW.end_reason OR OLD.sealed <> NEW.sealed
        OR OLD.filed <> NEW.filed)
    EXECUTE FUNCTION guard_tell();
CREATE TRIGGER records_tell AFTER UPDATE OF notices ON records FOR EACH ROW
    WHEN (OLD.notices <> NEW.notices) EXECUTE FUNCTION guard_tell();
CREATE TRIGGER leases_tell AFTER DELETE ON leases FOR EACH ROW EXECUTE FUNCTION guard_tell();
