-- Who the configuration said that the gateway is, as a digest, where an identity token let its key in.
ALTER TABLE enrolments ADD COLUMN identity TEXT;
