"""asyncpg: binary results throughout, prepared statements, cursors, COPY."""
import asyncio
import io
import os
import sys

import asyncpg


async def masks(connection):
    rows = await connection.fetch("SELECT id, email, full_name, phone FROM customers WHERE id > $1", 0)
    for row in rows:
        print(dict(row))
    out = io.BytesIO()
    await connection.copy_from_table("cards", output=out, format="binary")
    print(out.getvalue())
    print("rows", len(rows))


async def everything(connection):
    print(await connection.fetchval("SELECT $1::int + 2", 40))
    statement = await connection.prepare("SELECT id, total, note FROM orders WHERE id <= $1 ORDER BY id")
    for limit in (1, 3, 5):
        print("prepared", [tuple(row) for row in await statement.fetch(limit)])
    try:
        await connection.fetchval("SELECT 1/0")
    except asyncpg.PostgresError as error:
        print("error", error.sqlstate, error)
    async with connection.transaction():
        total = 0
        async for row in connection.cursor("SELECT id FROM customers", prefetch=13):
            total += row[0]
        print("cursor", total)
    await connection.execute("CREATE TEMP TABLE t (a int, b text)")
    records = [(n, None if n % 3 else f"text {n}") for n in range(1000)]
    print(await connection.copy_records_to_table("t", records=records))
    print("counted", tuple(await connection.fetchrow("SELECT count(*), count(b) FROM t")))
    await connection.executemany("INSERT INTO t VALUES ($1, $2)", records[:100])
    print("counted", await connection.fetchval("SELECT count(*) FROM t"))
    try:
        await connection.fetchval("SELECT pg_sleep(60)", timeout=0.2)
    except asyncio.TimeoutError:
        print("timed out and cancelled")
    print("after", await connection.fetchval("SELECT 'still here'"))
    print(connection.get_server_version().major)


async def main():
    connection = await asyncpg.connect(os.environ["DATABASE_URL"])
    await (masks if sys.argv[1] == "masks" else everything)(connection)
    await connection.close()


asyncio.run(main())
