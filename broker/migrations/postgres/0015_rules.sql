-- Which rules of a policy met something, a row for each run and rule, written when the run's record is read.
CREATE TABLE matched_rules (
    session TEXT NOT NULL,
    policy_digest TEXT NOT NULL,
    -- Empty: the run was counted, whatever met anything.
    rule TEXT NOT NULL,
    statements BIGINT NOT NULL,
    PRIMARY KEY (session, policy_digest, rule)
);
CREATE INDEX matched_rules_by_policy ON matched_rules (policy_digest, rule, session);
