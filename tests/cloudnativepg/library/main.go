// Command library does with barman-cloud's commands, which it finds by their names in PATH, what CloudNativePG does: by
// the library that the operator and its plugin share.
//
//	library check SERVER                         whether a new server may archive
//	library archive SERVER DATA SPOOL FILE...    archives files, all at once
//	library fetch SERVER SPOOL TARGET NAME...    fetches the first file to TARGET, the others into SPOOL, all at once
//	library backup SERVER NAME TMPDIR            takes a backup; prints what is known of it then
//	library find SERVER [TIME]                   prints the backup to recover from, up to TIME
//	library delete SERVER POLICY                 deletes by a policy such as 7d
//
// The environment variable STORE describes the object store, as in a Cluster's resource. A line NAME ERROR, or NAME ok, is
// printed for each file; a backup is printed as JSON. The log goes to stderr. It exits with 1 on an error.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/cloudnative-pg/barman-cloud/pkg/api"
	"github.com/cloudnative-pg/barman-cloud/pkg/archiver"
	"github.com/cloudnative-pg/barman-cloud/pkg/backup"
	"github.com/cloudnative-pg/barman-cloud/pkg/command"
	"github.com/cloudnative-pg/barman-cloud/pkg/restorer"
	"github.com/cloudnative-pg/machinery/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
)

func main() {
	log.SetLogLevel(log.InfoLevelString)
	flags := log.NewFlags(zap.Options{})
	flags.ConfigureLogging()
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "library:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) < 2 {
		return errors.New("a command and a server are needed")
	}
	store := &api.BarmanObjectStoreConfiguration{}
	if err := json.Unmarshal([]byte(os.Getenv("STORE")), store); err != nil {
		return fmt.Errorf("STORE: %w", err)
	}
	name, server, args := args[0], args[1], args[2:]
	switch {
	case name == "check" && len(args) == 0:
		return check(ctx, store, server)
	case name == "archive" && len(args) > 2:
		return archive(ctx, store, server, args[0], args[1], args[2:])
	case name == "fetch" && len(args) > 2:
		return fetch(ctx, store, server, args[0], args[1], args[2:])
	case name == "backup" && len(args) == 2:
		return take(ctx, store, server, args[0], args[1])
	case name == "find" && len(args) < 2:
		return find(ctx, store, server, args)
	case name == "delete" && len(args) == 1:
		return command.DeleteBackupsByPolicy(ctx, store, server, os.Environ(), args[0])
	}
	return fmt.Errorf("wrong command or number of arguments: %q", os.Args)
}

func check(ctx context.Context, store *api.BarmanObjectStoreConfiguration, server string) error {
	spool, err := os.MkdirTemp("", "spool")
	if err != nil {
		return err
	}
	defer os.RemoveAll(spool)
	walArchiver, err := archiver.New(ctx, os.Environ(), spool, ".", "absent")
	if err != nil {
		return err
	}
	options, err := walArchiver.BarmanCloudCheckWalArchiveOptions(ctx, store, server)
	if err != nil {
		return err
	}
	return walArchiver.CheckWalArchiveDestination(ctx, options)
}

func archive(
	ctx context.Context,
	store *api.BarmanObjectStoreConfiguration,
	server, data, spool string,
	files []string,
) error {
	walArchiver, err := archiver.New(ctx, os.Environ(), spool, data, data+"/.check-empty-wal-archive")
	if err != nil {
		return err
	}
	options, err := walArchiver.BarmanCloudWalArchiveOptions(ctx, store, server)
	if err != nil {
		return err
	}
	for _, result := range walArchiver.ArchiveList(ctx, files, options) {
		tell(result.WalName, result.Err)
		err = errors.Join(err, result.Err)
	}
	return err
}

func fetch(
	ctx context.Context,
	store *api.BarmanObjectStoreConfiguration,
	server, spool, target string,
	names []string,
) error {
	walRestorer, err := restorer.New(ctx, os.Environ(), spool)
	if err != nil {
		return err
	}
	options, err := command.CloudWalRestoreOptions(ctx, store, server)
	if err != nil {
		return err
	}
	results := walRestorer.RestoreList(ctx, names, target, options)
	for _, result := range results {
		tell(result.WalName, result.Err)
	}
	return results[0].Err
}

// tell prints what has become of a file.
func tell(name string, err error) {
	if err == nil {
		err = errors.New("ok")
	}
	fmt.Println(name, err)
}

func take(ctx context.Context, store *api.BarmanObjectStoreConfiguration, server, name, tmp string) error {
	taker := backup.NewBackupCommand(store)
	if err := taker.Take(ctx, name, server, os.Environ(), tmp); err != nil {
		return err
	}
	info, err := taker.GetExecutedBackupInfo(ctx, name, server, os.Environ())
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(info)
}

// target is a recovery target that names no more than a time.
type target struct{ time string }

func (t target) GetBackupID() string   { return "" }
func (t target) GetTargetTime() string { return t.time }
func (t target) GetTargetLSN() string  { return "" }
func (t target) GetTargetTLI() string  { return "" }

func find(ctx context.Context, store *api.BarmanObjectStoreConfiguration, server string, time []string) error {
	catalog, err := command.GetBackupList(ctx, store, server, os.Environ())
	if err != nil {
		return err
	}
	var recovery target
	if len(time) > 0 {
		recovery.time = time[0]
	}
	info, err := catalog.FindBackupInfo(recovery)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(info)
}
