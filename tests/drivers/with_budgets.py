"""psycopg 3 under `rows_per_statement: 100`: what is over it fails, and has changed nothing."""
import os

import psycopg

url = os.environ["DATABASE_URL"]
LIMIT = "53400"


def ends(what, act, state=LIMIT):
    try:
        act()
    except psycopg.Error as error:
        assert error.sqlstate == state, (what, error.sqlstate, str(error))
        return
    raise AssertionError(f"{what} was not ended")


with psycopg.connect(url, autocommit=True) as one:
    rows = one.execute("SELECT n FROM many WHERE n <= %s", (100,)).fetchall()
    assert len(rows) == 100
    ends("a select", lambda: one.execute("SELECT n FROM many WHERE n > %s", (0,)).fetchall())
    ends("prepared", lambda: one.execute("SELECT n FROM many WHERE n > %s", (0,), prepare=True))
    ends("an insert", lambda: one.execute("INSERT INTO target SELECT n, %s FROM many", ("a",)))
    ends("returning", lambda: one.execute("DELETE FROM many WHERE n > %s RETURNING n", (0,)))
    ends("hidden", lambda: one.execute("WITH d AS (DELETE FROM many RETURNING n) SELECT count(*) FROM d WHERE n > %s", (0,)), "42501")
    one.execute("INSERT INTO target VALUES (%s, '')", (1,))
    try:
        with one.cursor().copy("COPY many TO STDOUT") as copy:
            got = 0
            for block in copy:
                got += 1
        raise AssertionError("a copy was not ended")
    except psycopg.Error as error:
        assert error.sqlstate == LIMIT and got == 100, (got, error)
    # COPY: what it took is known when it is done, and is undone.
    def fill():
        with one.cursor().copy("COPY target FROM STDIN") as copy:
            for n in range(200):
                copy.write_row((n, "copied"))
    ends("a copy in", fill)
    with one.pipeline():
        cursors = [one.execute("SELECT n FROM many WHERE n < %s", (n,)) for n in (3, 4)]
    assert [len(cursor.fetchall()) for cursor in cursors] == [2, 3]

    def pipelined():
        with one.pipeline() as pipeline:
            one.execute("INSERT INTO target VALUES (%s, 'before')", (1,))
            one.execute("SELECT n FROM many WHERE n > %s", (0,))
            one.execute("INSERT INTO target VALUES (%s, 'behind')", (1,))
            pipeline.sync()
    ends("a pipeline", pipelined)

with psycopg.connect(url) as two:
    two.execute("INSERT INTO target VALUES (2, '')")
    with two.cursor("slices") as cursor:
        cursor.itersize = 30
        cursor.execute("SELECT n FROM many ORDER BY n")
        got = []
        try:
            for row in cursor:
                got.append(row[0])
            raise AssertionError("a cursor was not ended")
        except psycopg.Error as error:
            assert error.sqlstate == LIMIT, error
        assert len(got) <= 100, len(got)
    two.rollback()
    two.execute("INSERT INTO target VALUES (2, '')")
    two.commit()
    two.execute("INSERT INTO target VALUES (2, 'undone')")
    ends("in a transaction", lambda: two.execute("UPDATE many SET pad = %s", ("",)))
    ends("after it", lambda: two.execute("SELECT %s::int", (1,)), "25P02")
    two.rollback()
    two.execute("SAVEPOINT s")
    ends("behind a savepoint", lambda: two.execute("UPDATE many SET pad = %s", ("",)))
    two.execute("ROLLBACK TO s")
    two.execute("INSERT INTO target VALUES (3, '')")
print("done")
