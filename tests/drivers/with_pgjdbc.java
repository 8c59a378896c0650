// pgjdbc: prepared statements, batches, fetch sizes, COPY, large objects, two-phase commit, errors.

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.sql.CallableStatement;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.sql.Types;
import java.net.URI;
import java.util.Properties;
import org.postgresql.PGConnection;
import org.postgresql.PGStatement;
import org.postgresql.copy.CopyManager;
import org.postgresql.util.PSQLException;

public class with_pgjdbc {
    static String address;
    static Properties properties = new Properties();

    static Connection connect(String... options) throws SQLException {
        Properties own = new Properties();
        own.putAll(properties);
        for (int n = 0; n < options.length; n += 2) own.setProperty(options[n], options[n + 1]);
        return DriverManager.getConnection(address, own);
    }

    static String one(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery(sql)) {
            rows.next();
            return rows.getString(1);
        }
    }

    static void fails(String name, Connection connection, String sql) {
        try (Statement statement = connection.createStatement()) {
            statement.execute(sql);
            System.out.println(name + " went well");
        } catch (SQLException error) {
            var server = ((PSQLException) error).getServerErrorMessage();
            System.out.println(name + " " + error.getSQLState() + " " + server.getMessage() + " "
                + server.getConstraint() + " " + server.getTable() + " " + server.getPosition());
        }
    }

    static void prepared(Connection connection) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement("SELECT count(*), sum(total) FROM orders WHERE id < ?")) {
            statement.unwrap(PGStatement.class).setPrepareThreshold(3);
            for (int n = 1; n < 8; n++) {
                statement.setInt(1, n * 10);
                try (ResultSet rows = statement.executeQuery()) {
                    rows.next();
                    System.out.println("prepared " + rows.getLong(1) + " " + rows.getBigDecimal(2)
                        + " " + statement.unwrap(PGStatement.class).isUseServerPrepare());
                }
            }
        }
    }

    static void changed(Connection connection) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.execute("CREATE TEMP TABLE shape (a int)");
            statement.execute("INSERT INTO shape VALUES (1)");
            try (PreparedStatement select = connection.prepareStatement("SELECT * FROM shape")) {
                select.unwrap(PGStatement.class).setPrepareThreshold(1);
                for (int n = 0; n < 3; n++) select.executeQuery().close();
                statement.execute("ALTER TABLE shape ADD COLUMN b text DEFAULT 'new'");
                try (ResultSet rows = select.executeQuery()) {
                    System.out.println("after a change " + rows.getMetaData().getColumnCount());
                } catch (SQLException error) {
                    System.out.println("after a change " + error.getSQLState() + " " + error.getMessage());
                }
            }
        }
    }

    static void batch(Connection connection) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.execute("CREATE TEMP TABLE many (a int PRIMARY KEY, b text, c bytea)");
        }
        try (PreparedStatement insert = connection.prepareStatement("INSERT INTO many VALUES (?, ?, ?)")) {
            for (int n = 0; n < 700; n++) {
                insert.setInt(1, n);
                insert.setString(2, n % 3 == 0 ? null : "line " + n);
                insert.setBytes(3, new byte[] {(byte) n, 0});
                insert.addBatch();
            }
            System.out.println("batch " + insert.executeBatch().length);
        }
        System.out.println("in it " + one(connection, "SELECT count(*) || ' ' || count(b) || ' ' || sum(length(c)) FROM many"));
        fails("twice", connection, "INSERT INTO many VALUES (1)");
        try (PreparedStatement keys = connection.prepareStatement(
                "INSERT INTO many VALUES (1000), (1001)", Statement.RETURN_GENERATED_KEYS)) {
            keys.executeUpdate();
            ResultSet made = keys.getGeneratedKeys();
            while (made.next()) System.out.println("key " + made.getInt(1));
        }
    }

    static void cursors(Connection connection) throws SQLException {
        connection.setAutoCommit(false);
        try (PreparedStatement statement = connection.prepareStatement("SELECT id, email FROM customers ORDER BY id")) {
            statement.setFetchSize(7);
            long sum = 0;
            try (ResultSet rows = statement.executeQuery()) {
                while (rows.next()) sum += rows.getLong(1);
            }
            System.out.println("fetched " + sum);
        }
        try (Statement statement = connection.createStatement()) {
            Savepoint savepoint = connection.setSavepoint("here");
            fails("in a transaction", connection, "SELECT 1/0");
            fails("then", connection, "SELECT 1");
            connection.rollback(savepoint);
            System.out.println("again " + one(connection, "SELECT 1"));
        }
        connection.rollback();
        connection.setAutoCommit(true);
    }

    static void copies(Connection connection) throws Exception {
        CopyManager copy = connection.unwrap(PGConnection.class).getCopyAPI();
        byte[] lines = "2000,\"a, b\",\n2001,,\n".getBytes();
        System.out.println("in " + copy.copyIn("COPY many FROM STDIN (FORMAT csv)", new ByteArrayInputStream(lines)));
        for (String format : new String[] {"text", "csv", "binary"}) {
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            long rows = copy.copyOut("COPY (SELECT * FROM many ORDER BY a) TO STDOUT (FORMAT " + format + ")", out);
            System.out.println(format + " " + rows + " " + out.size());
        }
    }

    static void objects(Connection connection) throws Exception {
        connection.setAutoCommit(false);
        var manager = connection.unwrap(PGConnection.class).getLargeObjectAPI();
        long oid = manager.createLO();
        try (var object = manager.open(oid)) {
            object.write("twelve bytes".getBytes());
            object.seek(7);
            System.out.println("object " + new String(object.read(10)) + " " + object.tell());
        } catch (SQLException error) {
            System.out.println("object " + error.getMessage());
        }
        connection.rollback();
        connection.setAutoCommit(true);
    }

    public static void main(String[] arguments) throws Exception {
        URI url = new URI(System.getenv("DATABASE_URL"));
        address = "jdbc:postgresql://" + url.getHost() + ":" + url.getPort() + url.getPath();
        String[] user = url.getUserInfo().split(":");
        properties.setProperty("user", user[0]);
        properties.setProperty("password", user[1]);
        properties.setProperty("sslmode", "disable");
        try (Connection connection = connect("ApplicationName", "a job", "options", "-c work_mem=5MB")) {
            System.out.println(one(connection, "SELECT current_setting('application_name') || current_setting('work_mem')"));
            prepared(connection);
            changed(connection);
            batch(connection);
            cursors(connection);
            copies(connection);
            objects(connection);
            try (CallableStatement call = connection.prepareCall("{ ? = call upper(?) }")) {
                call.registerOutParameter(1, Types.VARCHAR);
                call.setString(2, "called");
                call.execute();
                System.out.println(call.getString(1));
            }
            try (Statement statement = connection.createStatement()) {
                statement.setQueryTimeout(1);
                try {
                    statement.execute("SELECT pg_sleep(60)");
                } catch (SQLException error) {
                    System.out.println("cancelled " + error.getSQLState());
                }
            }
            try (ResultSet columns = connection.getMetaData().getColumns(null, "public", "orders", "%")) {
                while (columns.next()) System.out.println(columns.getString("COLUMN_NAME") + " " + columns.getString("TYPE_NAME"));
            }
        }
        for (String mode : new String[] {"simple", "extendedForPrepared", "extendedCacheEverything"}) {
            try (Connection connection = connect("preferQueryMode", mode, "targetServerType", "primary")) {
                System.out.println(mode + " " + one(connection, "SELECT max(id) FROM orders"));
            }
        }
    }
}
