"""psycopg 3: what belongs to a connection: options, notifications, notices, two-phase commit, plans, cancels."""
import os
import sys
import threading
import time

import psycopg
from psycopg import sql

url = os.environ["DATABASE_URL"]


def connect(**options):
    return psycopg.connect(url, autocommit=True, **options)


def error_of(connection, query, *parameters):
    try:
        connection.execute(query, *parameters)
    except psycopg.Error as error:
        diag = error.diag
        return (type(error).__name__, error.sqlstate, diag.severity, diag.message_primary, diag.message_detail,
                diag.message_hint, diag.statement_position, diag.schema_name, diag.table_name, diag.column_name,
                diag.constraint_name, diag.context)
    return "no error"


def start():
    options = "-c search_path=pg_catalog,public -c statement_timeout=7s -c DateStyle=German"
    with connect(options=options, application_name="a job") as connection:
        for name in ("search_path", "statement_timeout", "DateStyle", "application_name"):
            print(name, connection.execute("SELECT current_setting(%s)", (name,)).fetchone())
        print(connection.execute("SELECT '2024-01-31'::date::text").fetchone())
        for name in ("application_name", "DateStyle", "TimeZone", "standard_conforming_strings"):
            print("reported", name, connection.info.parameter_status(name))
        connection.execute("SET TIME ZONE 'Asia/Kolkata'")
        print("reported", connection.info.parameter_status("TimeZone"))
        print(connection.execute("SELECT '2024-01-31 12:00+00'::timestamptz::text").fetchone())
    for wanted in ("any", "read-write", "primary", "prefer-standby", "read-only", "standby"):
        try:
            with connect(target_session_attrs=wanted) as connection:
                print(wanted, connection.execute("SELECT 1").fetchone())
        except psycopg.OperationalError:
            print(wanted, "is not to be had")
    for mode in ("disable", "allow", "prefer"):
        with connect(sslmode=mode) as connection:
            print(mode, connection.execute("SELECT 1").fetchone())
    for client, other in (("LATIN1", "Ä"), ("UTF8", "Ä€")):
        with connect(client_encoding=client) as connection:
            print(client, connection.execute("SELECT %s::text, length(%s)", (other, other)).fetchone())


def plans(connection):
    connection.execute("CREATE TEMP TABLE shape (a int)")
    connection.execute("INSERT INTO shape VALUES (1)")
    for _ in range(7):
        row = connection.execute("SELECT * FROM shape WHERE a = %s", (1,), prepare=True).fetchone()
    print("before", row)
    connection.execute("ALTER TABLE shape ADD COLUMN b text DEFAULT 'new'")
    print("stale", error_of(connection, "SELECT * FROM shape WHERE a = %s", (1,)))
    connection.execute("DEALLOCATE ALL")
    print("after", connection.execute("SELECT * FROM shape WHERE a = %s", (1,)).fetchone())
    connection.execute("PREPARE mine (int) AS SELECT $1 + a FROM shape")
    print("mine", connection.execute("EXECUTE mine (41)").fetchone())
    print(connection.execute("SELECT name, from_sql FROM pg_prepared_statements WHERE name = 'mine'").fetchall())
    connection.execute("ALTER TABLE shape ADD COLUMN c int")
    connection.execute("PREPARE all_of_it AS SELECT * FROM shape")
    connection.execute("EXECUTE all_of_it")
    connection.execute("ALTER TABLE shape DROP COLUMN c")
    print("stale", error_of(connection, "EXECUTE all_of_it"))
    connection.execute("DEALLOCATE mine")
    print(error_of(connection, "EXECUTE mine (41)"))
    connection.execute("DISCARD ALL")
    print("discarded", error_of(connection, "SELECT * FROM shape"))


def errors(connection):
    connection.execute("CREATE TEMP TABLE strict (a int PRIMARY KEY, b text NOT NULL CONSTRAINT filled CHECK (b <> ''))")
    connection.execute("INSERT INTO strict VALUES (1, 'x')")
    for query in ("INSERT INTO strict VALUES (1, 'y')", "INSERT INTO strict VALUES (2, '')", "INSERT INTO strict (a) VALUES (3)",
                  "SELECT nothing FROM strict", "SELEC 1", "SELECT 'a'::int", "SELECT * FROM strict WHERE b = 1"):
        # Names of a schema of temporary tables are each connection's own.
        print([part for part in error_of(connection, query) if not str(part).startswith("pg_temp")])
    with connection.transaction():
        for n in (4, 1, 5):
            try:
                with connection.transaction():
                    connection.execute("INSERT INTO strict VALUES (%s, 'z')", (n,))
            except psycopg.errors.UniqueViolation as error:
                print("taken back", error.diag.message_detail)
    print(connection.execute("SELECT array_agg(a ORDER BY a) FROM strict").fetchone())
    try:
        with connection.pipeline() as pipeline:
            for n in (6, 1, 7):
                connection.execute("INSERT INTO strict VALUES (%s, 'z')", (n,))
            pipeline.sync()
    except psycopg.Error as error:
        print("pipeline", type(error).__name__)
    print(connection.execute("SELECT array_agg(a ORDER BY a) FROM strict").fetchone())
    made = connection.cursor()
    made.executemany("INSERT INTO strict VALUES (%s, %s) RETURNING a", [(n, "m") for n in (10, 11, 12)], returning=True)
    sets = [made.fetchone()]
    while made.nextset():
        sets.append(made.fetchone())
    print("returning", sets)


def notices(connection):
    heard = []
    connection.add_notice_handler(lambda diag: heard.append((diag.severity, diag.sqlstate, diag.message_primary)))
    connection.execute("DROP TABLE IF EXISTS nowhere")
    connection.execute("DO $$ BEGIN RAISE NOTICE 'from within'; RAISE WARNING 'and a warning'; END $$")
    print("notices", heard)


def notifications(connection):
    connection.execute("LISTEN bell")
    with connect() as other:
        other.execute("SELECT pg_notify('bell', 'ring')")
        other.execute(sql.SQL("NOTIFY bell, {}").format(sql.Literal("it's " * 50)))
    print("heard", [(bell.channel, len(bell.payload)) for bell in connection.notifies(timeout=10, stop_after=2)])
    connection.execute("UNLISTEN *")


def two_phases(connection):
    connection.autocommit = False
    for end in (connection.tpc_commit, connection.tpc_rollback):
        connection.tpc_begin(connection.xid(1, f"of this run {os.getpid()}", "branch"))
        connection.execute("SELECT txid_current()")
        connection.tpc_prepare()
        with connect() as other:
            print("prepared", [xid.gtrid.split()[0] for xid in other.tpc_recover()])
        end()
    connection.rollback()
    connection.autocommit = True


def copies(connection):
    connection.execute("CREATE TEMP TABLE sheet (a int, b text, c bytea, d timestamptz)")
    with connection.cursor() as cursor:
        with cursor.copy("COPY sheet FROM STDIN (FORMAT binary)") as copy:
            copy.set_types(["int4", "text", "bytea", "timestamptz"])
            for n in range(300):
                copy.write_row((n, None if n % 2 else "ü" * n, bytes([n % 256]), None))
        with cursor.copy("COPY sheet (a, b) FROM STDIN (FORMAT csv, HEADER, NULL 'none')") as copy:
            copy.write("a,b\n1000,none\n1001,\"two\nlines\"\n")
        try:
            with cursor.copy("COPY sheet FROM STDIN") as copy:
                copy.write("not a number\tx\t\\\\x00\t\\N\n")
        except psycopg.Error as error:
            print("copy", error.sqlstate, error.diag.context)
        try:
            with cursor.copy("COPY sheet FROM STDIN") as copy:
                copy.write("1\n")
                raise RuntimeError("the job gave up")
        except RuntimeError as error:
            print("given up", error)
        with cursor.copy("COPY (SELECT a, b FROM sheet ORDER BY a DESC LIMIT 3) TO STDOUT (FORMAT csv, FORCE_QUOTE *)") as copy:
            print(b"".join(bytes(block) for block in copy))
    print(connection.execute("SELECT count(*), count(b), sum(length(b)) FROM sheet").fetchone())


def cancels(connection):
    pid = connection.execute("SELECT pg_backend_pid()").fetchone()[0]
    running = "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND state = 'active' AND query LIKE '%%pg_sleep%%'"

    def cancel():
        # A cancel that comes before its query cancels nothing.
        with connect() as other:
            while not other.execute(running, (pid,)).fetchone():
                pass
        connection.cancel_safe()

    canceller = threading.Thread(target=cancel)
    canceller.start()
    print("cancelled", error_of(connection, "SELECT pg_sleep(60)")[1])
    canceller.join()
    print("goes on", connection.execute("SELECT 1").fetchone())
    connection.execute("SET statement_timeout = 200")
    print("timed out", error_of(connection, "SELECT pg_sleep(60)")[1])
    connection.execute("RESET statement_timeout")


def cursors(connection):
    with connection.transaction():
        with connection.cursor("back", scrollable=True) as cursor:
            cursor.execute("SELECT n FROM generate_series(1, 100) n")
            print(cursor.fetchmany(3), end=" ")
            cursor.scroll(90, "absolute")
            print(cursor.fetchone(), end=" ")
            cursor.scroll(-50)
            print(cursor.fetchall()[:2])
    held = connection.cursor("held", withhold=True)
    held.execute("SELECT n FROM generate_series(1, 5) n")
    print("held", held.fetchall())
    held.close()


def ends():
    connection = connect()
    pid = connection.execute("SELECT pg_backend_pid()").fetchone()[0]
    with connect() as other:
        other.execute("SELECT pg_terminate_backend(%s)", (pid,))
    deadline = time.monotonic() + 10
    ended = "no end"
    while ended == "no end" and time.monotonic() < deadline:
        try:
            connection.execute("SELECT 1")
        except psycopg.OperationalError as error:
            ended = f"{type(error).__name__} {error.sqlstate}"
    print("ended", ended.split()[0], connection.closed)
    with connect() as again:
        print("again", again.execute("SELECT 1").fetchone())


if sys.argv[1] == "all":
    start()
    with connect() as connection:
        plans(connection)
        errors(connection)
        notices(connection)
        notifications(connection)
        two_phases(connection)
        copies(connection)
        cancels(connection)
        cursors(connection)
    ends()
