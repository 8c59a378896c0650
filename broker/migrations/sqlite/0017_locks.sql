-- The text of the lock that a policy names; none is empty.
ALTER TABLE policies ADD COLUMN lock_text TEXT NOT NULL DEFAULT '';
