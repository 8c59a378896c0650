-- What a person is compared with a run's starter by, as JSON; and whether a browser or the command line holds the secret.
ALTER TABLE people_sessions ADD COLUMN claims TEXT NOT NULL DEFAULT '{}';
ALTER TABLE people_sessions ADD COLUMN kind TEXT NOT NULL DEFAULT 'browser';
