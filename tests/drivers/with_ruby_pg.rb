# Ruby's pg: parameters in text and binary, prepared statements, single rows, COPY, notifications, large objects.
require 'pg'

connection = PG.connect(ENV.fetch('DATABASE_URL'))
p connection.exec_params('SELECT $1::int + 2 AS answer', [40]).to_a
p connection.exec_params('SELECT $1::bytea AS raw', [{ value: "\x00\xff".b, format: 1 }], 1).getvalue(0, 0)
connection.prepare('orders', 'SELECT count(*) FROM orders WHERE id < $1')
[10, 20, 30].each { |n| p connection.exec_prepared('orders', [n]).values }
p connection.describe_prepared('orders').nparams
connection.send_query('SELECT id FROM customers ORDER BY id')
connection.set_single_row_mode
sum = 0
while (result = connection.get_result)
  result.each { |row| sum += row['id'].to_i }
end
p sum
begin
  connection.exec('SELECT 1/0')
rescue PG::Error => e
  p e.class, e.result.error_field(PG::Result::PG_DIAG_SQLSTATE), e.message
end
connection.transaction do |inner|
  inner.exec('CREATE TEMP TABLE t (a int, b text) ON COMMIT DROP')
  inner.copy_data('COPY t FROM STDIN') { 100.times { |n| inner.put_copy_data("#{n}\tline #{n}\n") } }
  p inner.exec('SELECT count(*), max(b) FROM t').values
  rows = 0
  inner.copy_data('COPY t TO STDOUT (FORMAT csv)') { rows += 1 while inner.get_copy_data }
  p rows
  oid = inner.lo_creat
  object = inner.lo_open(oid, PG::INV_WRITE | PG::INV_READ)
  p inner.lo_write(object, 'twelve bytes')
  inner.lo_lseek(object, 7, PG::SEEK_SET)
  p inner.lo_read(object, 5)
  inner.lo_close(object)
  inner.lo_unlink(oid)
rescue PG::Error => e
  puts "large object: #{e.message}"
  raise PG::RollbackTransaction
end
connection.exec('LISTEN bell')
connection.exec("NOTIFY bell, 'ring'")
connection.wait_for_notify(10) { |channel, _pid, payload| p [channel, payload] }
connection.set_notice_processor { |message| puts "notice: #{message}" }
connection.exec('DROP TABLE IF EXISTS nowhere')
pid = connection.exec('SELECT pg_backend_pid()').getvalue(0, 0)
connection.send_query('SELECT pg_sleep(60)')
# A cancel that comes before its query cancels nothing.
other = PG.connect(ENV.fetch('DATABASE_URL'))
running = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND state = 'active' AND query LIKE '%pg_sleep%'"
nil until other.exec_params(running, [pid]).getvalue(0, 0) == '1'
connection.cancel
begin
  connection.get_last_result
rescue PG::Error => e
  p e.class
end
connection.enter_pipeline_mode
3.times { |n| connection.send_query_params('SELECT $1::int * 2', [n]) }
connection.pipeline_sync
3.times do
  p connection.get_result.values
  connection.get_result
end
p connection.get_result.result_status == PG::PGRES_PIPELINE_SYNC
connection.exit_pipeline_mode
connection.reset
p connection.exec('SELECT 1').values, connection.server_version / 10_000
