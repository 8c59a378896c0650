-- A table whose masked columns hold one value each that nothing else holds.

CREATE TABLE people (id int PRIMARY KEY, name text, secret text, code varchar(40), facts jsonb);
INSERT INTO people SELECT n, 'name ' || n, 'QuietCanary', 'HiddenFinch', '{"bird": "LonelyHeron"}' FROM generate_series(1, 3) n;
CREATE TABLE orders (id int, person_id int, note text);
INSERT INTO orders SELECT n, n, 'note ' || n FROM generate_series(1, 3) n;
CREATE VIEW shown AS SELECT id, secret AS s, upper(code) AS c FROM people;
CREATE VIEW through AS SELECT shown.*, o.note FROM shown JOIN orders o USING (id);
CREATE MATERIALIZED VIEW kept AS SELECT id, name FROM people;
CREATE TABLE archive () INHERITS (people);
INSERT INTO archive VALUES (9, 'old', 'QuietCanary', 'HiddenFinch', '{"bird": "LonelyHeron"}');

-- Functions that give masked values where nobody names the column.
CREATE FUNCTION told(int) RETURNS text STABLE LANGUAGE sql AS $$ SELECT secret FROM people WHERE id = $1 $$;
CREATE FUNCTION every() RETURNS SETOF people STABLE LANGUAGE sql AS $$ SELECT * FROM people $$;
CREATE FUNCTION spoken() RETURNS text LANGUAGE plpgsql
    AS $$ DECLARE t text; BEGIN SELECT code INTO t FROM people LIMIT 1; RAISE NOTICE '%', t; RETURN t; END $$;
CREATE FUNCTION joined(int, int) RETURNS text LANGUAGE sql AS $$ SELECT string_agg(secret, ' ') FROM people $$;
CREATE OPERATOR <?> (LEFTARG = int, RIGHTARG = int, FUNCTION = joined);
CREATE VIEW said AS SELECT id, told(id) AS s FROM people;
CREATE TABLE noted (id int, t text DEFAULT told(1));
