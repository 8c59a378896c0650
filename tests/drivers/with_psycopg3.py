"""psycopg 3: parameters, prepared statements, binary results, pipelines, COPY, errors."""
import os
import sys

import psycopg

url = os.environ["DATABASE_URL"]

if sys.argv[1] == "masks":
    with psycopg.connect(url, autocommit=True) as connection:
        for binary in (False, True):
            rows = connection.cursor(binary=binary).execute(
                "SELECT id, email, full_name, phone FROM customers WHERE id > %s", (0,)
            ).fetchall()
            for row in rows:
                print(row)
        for format in ("text", "csv", "binary"):
            with connection.cursor().copy(f"COPY cards TO STDOUT (FORMAT {format})") as copy:
                for block in copy:
                    print(bytes(block))
        print("rows", len(rows))
    sys.exit()

with psycopg.connect(url) as connection:
    print(connection.execute("SELECT %s::int + %s", (40, 2)).fetchone())
    for _ in range(8):
        row = connection.execute("SELECT count(*) FROM orders WHERE id < %s", (50,), prepare=True).fetchone()
    print("prepared", row)
    rows = connection.cursor(binary=True).execute("SELECT id, total, placed_at, note FROM orders ORDER BY id LIMIT 5")
    print("binary", rows.fetchall())
    try:
        with connection.transaction():
            connection.execute("SELECT 1/0")
    except psycopg.errors.DivisionByZero as error:
        print("error", error.sqlstate, error.diag.message_primary)
    print("after", connection.execute("SELECT 'still here'").fetchone())
    with connection.cursor("named") as named:
        named.itersize = 30
        named.execute("SELECT id FROM customers ORDER BY id")
        print("cursor", sum(row[0] for row in named))
    with connection.pipeline():
        cursors = [connection.execute("SELECT %s::int * 2", (n,)) for n in range(50)]
    print("pipeline", sum(cursor.fetchone()[0] for cursor in cursors))
    connection.execute("CREATE TEMP TABLE t (a int, b text)")
    with connection.cursor().copy("COPY t FROM STDIN") as copy:
        for n in range(1000):
            copy.write_row((n, f"line {n}\t\\ with\nbreaks"))
    print("copied in", connection.execute("SELECT count(*), max(length(b)) FROM t").fetchone())
    with connection.cursor().copy("COPY t TO STDOUT (FORMAT binary)") as copy:
        copy.set_types(["int4", "text"])
        print("copied out", sum(row[0] for row in copy.rows()))
    many = connection.cursor()
    many.executemany("INSERT INTO t VALUES (%s, %s)", [(n, None) for n in range(100)])
    print("many", many.rowcount)
    connection.rollback()
    print("status", connection.info.transaction_status.name)
    print("version", connection.info.server_version, connection.info.parameter_status("server_encoding"))
