-- What of each record no seal covers yet. Where records are files, they say it themselves.
ALTER TABLE records ADD COLUMN segment TEXT NOT NULL DEFAULT '{}';
