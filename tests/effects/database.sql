-- Everything by which a statement writes where it does not say so.

CREATE SEQUENCE numbers;
CREATE TABLE log (what text);

CREATE TABLE parent (id int PRIMARY KEY, a int, t text);
CREATE TABLE child (
    id serial PRIMARY KEY,
    parent_id int REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE,
    b int
);
CREATE TABLE grandchild (id int, child_id int REFERENCES child ON DELETE CASCADE);
CREATE TABLE loose (id int, parent_id int REFERENCES parent ON DELETE SET NULL ON UPDATE SET NULL, c int);

CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN INSERT INTO log VALUES (TG_OP); RETURN coalesce(NEW, OLD); END $$;
CREATE TABLE watched (id int PRIMARY KEY, a int, parent_id int REFERENCES parent ON DELETE CASCADE);
CREATE TRIGGER note BEFORE INSERT OR UPDATE OR DELETE ON watched FOR EACH ROW EXECUTE FUNCTION note();

CREATE TABLE ruled (id int, a int);
CREATE RULE also AS ON INSERT TO ruled DO ALSO INSERT INTO log VALUES ('rule');
CREATE RULE instead AS ON DELETE TO ruled DO INSTEAD DELETE FROM loose WHERE id = OLD.id;

CREATE VIEW simple AS SELECT id, a FROM parent WHERE a >= 0;
CREATE VIEW nested AS SELECT id, a FROM simple;
CREATE VIEW joined AS SELECT p.id, c.b FROM parent p JOIN child c ON c.parent_id = p.id;
CREATE FUNCTION unjoin() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN DELETE FROM grandchild; RETURN OLD; END $$;
CREATE TRIGGER unjoin INSTEAD OF UPDATE OR DELETE ON joined FOR EACH ROW EXECUTE FUNCTION unjoin();

CREATE TABLE parts (id int, k int, v text) PARTITION BY LIST (k);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES IN (2) PARTITION BY RANGE (id);
CREATE TABLE parts_2_low PARTITION OF parts_2 FOR VALUES FROM (0) TO (100);
CREATE TABLE parts_rest PARTITION OF parts DEFAULT;
CREATE TABLE base (id int, v text);
CREATE TABLE derived (extra int) INHERITS (base);
CREATE VIEW ruled_view AS SELECT id, c FROM loose;
CREATE RULE elsewhere AS ON INSERT TO ruled_view DO INSTEAD INSERT INTO base (id) VALUES (NEW.id);

CREATE FUNCTION bump() RETURNS int LANGUAGE plpgsql
    AS $$ BEGIN INSERT INTO log VALUES ('bump'); RETURN 1; END $$;
CREATE FUNCTION wipe(int) RETURNS int LANGUAGE plpgsql
    AS $$ BEGIN DELETE FROM loose WHERE id = $1; RETURN $1; END $$;
CREATE FUNCTION two() RETURNS SETOF int LANGUAGE sql
    AS $$ UPDATE base SET v = 'two'; SELECT generate_series(1, 2) $$;
CREATE PROCEDURE tidy() LANGUAGE plpgsql AS $$ BEGIN DELETE FROM log; END $$;
CREATE FUNCTION same(int, int) RETURNS bool LANGUAGE plpgsql
    AS $$ BEGIN INSERT INTO log VALUES ('same'); RETURN $1 = $2; END $$;
CREATE OPERATOR === (FUNCTION = same, LEFTARG = int, RIGHTARG = int);
CREATE FUNCTION step(int, int) RETURNS int LANGUAGE plpgsql
    AS $$ BEGIN INSERT INTO log VALUES ('step'); RETURN coalesce($1, 0) + $2; END $$;
CREATE AGGREGATE summed (int) (SFUNC = step, STYPE = int);
CREATE DOMAIN checked AS int CHECK (bump() > 0);
CREATE VIEW acting AS SELECT id, bump() AS b FROM parent;

-- Bodies that the server puts into a query's own plan.
CREATE FUNCTION peek() RETURNS SETOF int STABLE LANGUAGE sql AS $$ SELECT id FROM grandchild $$;
CREATE FUNCTION looked(int) RETURNS int STABLE LANGUAGE sql AS $$ SELECT max(child.id) FROM child WHERE b = $1 $$;
CREATE VIEW over_peek AS SELECT p AS id FROM peek() p;
CREATE VIEW over_all AS SELECT s.id FROM simple s JOIN over_peek p USING (id)
    WHERE EXISTS (SELECT FROM loose l WHERE l.id = s.id) UNION SELECT id FROM parts;
CREATE MATERIALIZED VIEW chosen AS SELECT id FROM nested;

CREATE TABLE made (
    id int GENERATED ALWAYS AS IDENTITY,
    a int UNIQUE,
    twice int GENERATED ALWAYS AS (a * 2) STORED,
    n int DEFAULT nextval('numbers')
);
CREATE TABLE keyed (id int PRIMARY KEY, a int DEFAULT bump());
CREATE TABLE proven (id int, c checked, d int CHECK (step(1, 1) > 0));
CREATE MATERIALIZED VIEW totals AS SELECT count(*) AS n FROM parent;

INSERT INTO parent SELECT n, n, 'row ' || n FROM generate_series(1, 9) n;
INSERT INTO child (parent_id, b) SELECT n, n FROM generate_series(1, 9) n;
INSERT INTO grandchild SELECT n, n FROM generate_series(1, 9) n;
INSERT INTO loose SELECT n, n, n FROM generate_series(1, 9) n;
INSERT INTO watched SELECT n, n, n FROM generate_series(1, 5) n;
INSERT INTO ruled SELECT n, n FROM generate_series(1, 5) n;
INSERT INTO parts SELECT n, n % 3 + 1, 'x' FROM generate_series(1, 9) n;
INSERT INTO base SELECT n, 'x' FROM generate_series(1, 5) n;
INSERT INTO derived SELECT n, 'y', n FROM generate_series(6, 9) n;
INSERT INTO made (a) SELECT n FROM generate_series(1, 5) n;
INSERT INTO keyed VALUES (1, 1), (2, 2);
