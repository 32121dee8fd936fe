// FerretDB as a plain server: MongoDB's wire protocol on one address, stored in a PostgreSQL with the DocumentDB extension.
// FerretDB's own command can't be built from its Go module alone, so this is the smallest program around the embeddable package.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/FerretDB/FerretDB/v2/ferretdb"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: ferretdb POSTGRESQL_URL LISTEN_ADDRESS STATE_FOLDER")
		os.Exit(2)
	}
	if err := serve(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// serve returns when a signal has asked it to stop and every connection is closed. Clients need no password: the embeddable
// package has authentication switched off, which is why the address is a loopback one.
func serve(postgresql, address, state string) error {
	telemetry := false
	server, err := ferretdb.New(&ferretdb.Config{
		PostgreSQLURL: postgresql,
		ListenAddr:    address,
		StateDir:      state,
		LogLevel:      slog.LevelWarn,
		LogOutput:     os.Stderr,
		Telemetry:     &telemetry,
	})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	server.Run(ctx)
	return nil
}
