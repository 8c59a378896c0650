"""psycopg 2: the simple protocol, server-side cursors, COPY, errors."""
import io
import os
import sys

import psycopg2
import psycopg2.extras

connection = psycopg2.connect(os.environ["DATABASE_URL"])
cursor = connection.cursor()

if sys.argv[1] == "masks":
    cursor.execute("SELECT id, email, full_name, phone FROM customers")
    rows = cursor.fetchall()
    for row in rows:
        print(row)
    out = io.StringIO()
    cursor.copy_expert("COPY cards TO STDOUT WITH CSV HEADER", out)
    print(out.getvalue())
    print("rows", len(rows))
    sys.exit()

cursor.execute("SELECT %s + 2, %s", (40, "it's"))
print(cursor.fetchone())
cursor.execute("SELECT 1; SELECT 2")
print("last of two", cursor.fetchone())
try:
    cursor.execute("SELECT 1/0")
except psycopg2.Error as error:
    print("error", error.pgcode, error.diag.message_primary)
try:
    cursor.execute("SELECT 1")
except psycopg2.Error as error:
    print("in a failed transaction", error.pgcode)
connection.rollback()
named = connection.cursor("named")
named.itersize = 17
named.execute("SELECT id FROM customers")
print("cursor", sum(row[0] for row in named))
named.close()
cursor.execute("CREATE TEMP TABLE t (a int, b text)")
cursor.copy_from(io.StringIO("1\tone\n2\t\\N\n"), "t")
psycopg2.extras.execute_values(cursor, "INSERT INTO t VALUES %s", [(n, str(n)) for n in range(500)])
cursor.execute("SELECT count(*), count(b) FROM t")
print("copied", cursor.fetchone())
out = io.StringIO()
cursor.copy_expert("COPY (SELECT * FROM t ORDER BY a, b LIMIT 3) TO STDOUT WITH CSV HEADER", out)
print("csv", repr(out.getvalue()))
connection.rollback()
connection.autocommit = True
cursor.execute("SHOW server_version_num")
print(cursor.fetchone())
