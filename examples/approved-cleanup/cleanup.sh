#!/usr/bin/env bash
# Removes what is no longer needed. It finds its database in PGHOST, PGPORT, PGUSER, PGPASSWORD and PGDATABASE.
set -euo pipefail

sql() { psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --command="$1"; }

echo "removing old orders"
sql "DELETE FROM public.orders WHERE placed_at < now() - interval '3 years'"

echo "emptying the orders: somebody has to agree"
sql 'TRUNCATE public.orders'
