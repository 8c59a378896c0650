-- What of each record no seal covers yet.
ALTER TABLE records ADD COLUMN segment TEXT NOT NULL DEFAULT '{}';
