// node-postgres: simple and extended queries, named statements, errors, notifications.
const { Client, Pool } = require("pg");

const connectionString = process.env.DATABASE_URL;

async function masks(client) {
  const { rows } = await client.query("SELECT id, email, full_name, phone FROM customers WHERE id > $1", [0]);
  for (const row of rows) console.log(JSON.stringify(row));
  const simple = await client.query("SELECT * FROM cards");
  for (const row of simple.rows) console.log(JSON.stringify(row));
  console.log("rows", rows.length);
}

async function all(client) {
  console.log((await client.query("SELECT 40 + 2 AS answer")).rows[0]);
  console.log((await client.query("SELECT $1::int + $2::int AS answer", [40, 2])).rows[0]);
  for (let n = 1; n < 5; n++) {
    const named = { name: "orders", text: "SELECT count(*) FROM orders WHERE id < $1", values: [n * 10] };
    console.log("named", (await client.query(named)).rows[0]);
  }
  const two = await client.query("SELECT 1 AS a; SELECT 2 AS b");
  console.log("two", two.map((result) => result.rows));
  await client.query("SELECT 1/0").catch((error) => console.log("error", error.code, error.message));
  await client.query("SELECT * FROM nowhere WHERE a = $1", [1]).catch((error) => console.log("error", error.code));
  const heard = new Promise((resolve) => client.once("notification", resolve));
  await client.query("LISTEN bell");
  await client.query("NOTIFY bell, 'ring'");
  console.log("heard", (await heard).payload);
  const pool = new Pool({ connectionString, max: 4 });
  const sums = await Promise.all(
    Array.from({ length: 40 }, (_, n) => pool.query("SELECT $1::int * 2 AS n", [n]).then((r) => r.rows[0].n)),
  );
  console.log("pool", sums.reduce((a, b) => a + b, 0));
  await pool.end();
  await client.query("CREATE TEMP TABLE shape (a int PRIMARY KEY)");
  await client.query("INSERT INTO shape VALUES (1)");
  const select = { name: "shape", text: "SELECT * FROM shape" };
  console.log("before", (await client.query(select)).rows);
  await client.query("ALTER TABLE shape ADD COLUMN b text DEFAULT 'new'");
  await client.query(select).then((r) => console.log("stale", r.rows), (error) => console.log("stale", error.code, error.message));
  await client.query("INSERT INTO shape VALUES ($1)", [1]).catch((error) => console.log(error.code, error.constraint, error.table, error.detail));
  await client.query("SELEC 1").catch((error) => console.log(error.code, error.position));
  const notice = new Promise((resolve) => client.once("notice", resolve));
  await client.query("DROP TABLE IF EXISTS nowhere");
  console.log("notice", (await notice).message);
  await client.query({ text: "SELECT pg_sleep(60)", query_timeout: 300 }).catch((error) => console.log("given up", error.message));
  const other = new Client({ connectionString, application_name: "a job", statement_timeout: 300, options: "-c search_path=pg_catalog" });
  await other.connect();
  console.log((await other.query("SELECT current_setting('application_name'), current_setting('search_path')")).rows);
  await other.query("SELECT pg_sleep(60)").catch((error) => console.log("timed out", error.code));
  await other.end();
  const binary = await new Client({ connectionString, binary: true });
  await binary.connect();
  console.log("binary", (await binary.query("SELECT $1::int AS n, $2::text AS t, now() > '2000-01-01' AS b", [7, "x"])).rows);
  await binary.end();
  return transaction();
}

async function transaction() {
  const client = new Client({ connectionString });
  await client.connect();
  await client.query("BEGIN");
  await client.query("CREATE TEMP TABLE t (a int, j jsonb) ON COMMIT DROP");
  await client.query("INSERT INTO t VALUES ($1, $2)", [1, { deep: ["x", null] }]);
  console.log("json", JSON.stringify((await client.query("SELECT * FROM t")).rows));
  await client.query("ROLLBACK");
  await client.end();
}

async function main() {
  const client = new Client({ connectionString });
  await client.connect();
  await (process.argv[2] === "masks" ? masks : all)(client);
  await client.end();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
