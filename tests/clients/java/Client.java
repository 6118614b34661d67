import java.util.ArrayList;
import java.util.Scanner;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.jdbc.core.JdbcTemplate;
import org.springframework.transaction.support.TransactionTemplate;

/** Rows of a Spring Boot application, so many at once. */
@EnableAutoConfiguration
public class Client {
    static String login(JdbcTemplate rows) {
        rows.update("INSERT INTO pupils (name) VALUES (?)", "Ada");
        String question = "SELECT current_user FROM pg_stat_ssl, pg_sleep(0.3) WHERE pid = pg_backend_pid() AND ssl";
        return rows.queryForObject(question, String.class);
    }

    public static void main(String[] arguments) {
        var context = SpringApplication.run(Client.class, arguments);
        var rows = context.getBean(JdbcTemplate.class);
        var transactions = context.getBean(TransactionTemplate.class);
        var threads = Executors.newCachedThreadPool();
        for (var lines = new Scanner(System.in); lines.hasNextLine(); ) {
            int count = Integer.parseInt(lines.nextLine());
            try {
                var tasks = new ArrayList<Callable<String>>();
                for (int n = 0; n < count; n++) {
                    tasks.add(() -> transactions.execute(status -> login(rows)));
                }
                var logins = new TreeSet<String>();
                for (Future<String> answer : threads.invokeAll(tasks)) {
                    logins.add(answer.get());
                }
                System.out.println("answer: " + String.join(" ", logins));
            } catch (Exception failed) {
                Throwable error = failed;
                while (error.getCause() != null) {
                    error = error.getCause();
                }
                System.out.println("answer: error: " + error.toString().replaceAll("\\s+", " "));
            }
        }
        System.exit(0);
    }
}
