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
    await more(connection)
    print(connection.get_server_version().major)


async def more(connection):
    await connection.execute("CREATE TYPE pg_temp.colour AS ENUM ('red', 'blue')")
    await connection.execute("CREATE TEMP TABLE shape (a int, c colour DEFAULT 'red', during int4range, deep int[][])")
    await connection.execute("INSERT INTO shape VALUES ($1, $2, $3, $4)", 1, "blue", asyncpg.Range(1, 5), [[1], [2]])
    statement = await connection.prepare("SELECT * FROM shape")
    print("before", tuple(await statement.fetchrow()))
    await connection.execute("ALTER TABLE shape ADD COLUMN b text DEFAULT 'new'")
    try:
        print("stale", tuple(await statement.fetchrow()))
    except asyncpg.PostgresError as error:
        print("stale", type(error).__name__, error.sqlstate)
    print("new", tuple(await connection.fetchrow("SELECT * FROM shape")))
    heard = asyncio.get_running_loop().create_future()
    await connection.add_listener("bell", lambda _connection, _pid, channel, payload: heard.set_result((channel, payload)))
    await connection.execute("SELECT pg_notify('bell', 'ring')")
    print("heard", await asyncio.wait_for(heard, 10))
    notices = []
    connection.add_log_listener(lambda _connection, message: notices.append((message.severity, message.message)))
    await connection.execute("DROP TABLE IF EXISTS nowhere")
    print("notices", notices)
    await connection.copy_to_table("t", source=io.BytesIO(b'1,"a, b"\n2,\n'), format="csv")
    out = io.BytesIO()
    await connection.copy_from_query("SELECT a, b FROM t WHERE a < $1 ORDER BY a, b LIMIT 5", 3, output=out, format="csv", header=True)
    print(out.getvalue())
    try:
        async with connection.transaction():
            async with connection.transaction():
                await connection.execute("INSERT INTO shape VALUES ($1)", 2)
            await connection.execute("INSERT INTO shape (a) VALUES ($1::int / 0)", 3)
    except asyncpg.DivisionByZeroError:
        print("taken back", await connection.fetchval("SELECT count(*) FROM shape"))
    many = await connection.fetchmany("SELECT $1::int * 2 AS n", [(n,) for n in range(5)])
    print("many", [row["n"] for row in many])
    async with asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=2, max_size=4) as pool:
        print("pool", sum(await asyncio.gather(*(pool.fetchval("SELECT $1::int", n) for n in range(40)))))


async def main():
    connection = await asyncpg.connect(os.environ["DATABASE_URL"])
    await (masks if sys.argv[1] == "masks" else everything)(connection)
    await connection.close()


asyncio.run(main())
