-- Until when the next identity token has to be there, in seconds since 1970. NULL: heartbeats keep it alive.
ALTER TABLE sessions ADD COLUMN renew_by INTEGER;
CREATE INDEX sessions_by_renewal ON sessions (renew_by) WHERE end_reason IS NULL;
