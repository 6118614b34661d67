// Package db connects an application with pgx 5.
package db

import (
	"context"
	"net/url"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const secret = "/etc/acme-db/"

func databaseURL() (*url.URL, error) {
	uri, err := os.ReadFile(secret + "uri")
	if err != nil {
		return nil, err
	}
	return url.Parse(string(uri))
}

// Open returns a pool whose connections take the login that is in the Secret when they are made.
func Open(ctx context.Context) (*pgxpool.Pool, error) {
	address, err := databaseURL()
	if err != nil {
		return nil, err
	}
	// The server's certificate and the name in it are verified. Set, and not appended: older releases of pgx take the first
	// of two values.
	query := address.Query()
	query.Set("sslmode", "verify-full")
	query.Set("sslrootcert", secret+"ca.crt")
	address.RawQuery = query.Encode()
	config, err := pgxpool.ParseConfig(address.String())
	if err != nil {
		return nil, err
	}
	config.MaxConns = 5
	// Shorter than rotationGraceSeconds, so that connections of the former login are over before it is closed.
	config.MaxConnLifetime = 10 * time.Minute
	// Behind a pooler in transaction mode that keeps no prepared statements:
	// config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	config.BeforeConnect = func(_ context.Context, connection *pgx.ConnConfig) error {
		now, err := databaseURL()
		if err != nil {
			return err
		}
		connection.User = now.User.Username()
		connection.Password, _ = now.User.Password()
		return nil
	}
	return pgxpool.NewWithConfig(ctx, config)
}
