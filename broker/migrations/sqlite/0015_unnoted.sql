-- Whether the record tells what came of a request: a broker may stop between the two.
ALTER TABLE approvals ADD COLUMN noted INTEGER NOT NULL DEFAULT 1;
CREATE INDEX approvals_unnoted ON approvals (decided_at) WHERE noted = 0;
-- When the first entry was written that no seal covers yet, in milliseconds.
ALTER TABLE records ADD COLUMN unsealed_since INTEGER;
