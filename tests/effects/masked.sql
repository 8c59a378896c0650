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
