// Rows of a Go application, so many at once.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"clients/db"

	"github.com/jackc/pgx/v5/pgxpool"
)

func login(ctx context.Context, pool *pgxpool.Pool) (login string, err error) {
	connection, err := pool.Acquire(ctx)
	if err != nil {
		return "", err
	}
	defer connection.Release()
	if _, err = connection.Exec(ctx, "INSERT INTO pupils (name) VALUES ($1)", "Ada"); err != nil {
		return "", err
	}
	question := "SELECT current_user FROM pg_stat_ssl, pg_sleep(0.3) WHERE pid = pg_backend_pid() AND ssl"
	err = connection.QueryRow(ctx, question).Scan(&login)
	return login, err
}

func main() {
	ctx := context.Background()
	pool, err := db.Open(ctx)
	if err != nil {
		fmt.Println("answer: error:", err)
		os.Exit(1)
	}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		count, _ := strconv.Atoi(lines.Text())
		answers := make(chan string)
		for range count {
			go func() {
				login, err := login(ctx, pool)
				if err != nil {
					login = "error: " + strings.Join(strings.Fields(err.Error()), " ")
				}
				answers <- login
			}()
		}
		var all []string
		for range count {
			answer := <-answers
			if strings.HasPrefix(answer, "error: ") {
				all = append([]string{answer}, all...)
			} else {
				all = append(all, answer)
			}
		}
		fmt.Println("answer:", strings.Join(all, " "))
	}
}
