//! State in a PostgreSQL database, for teams. Tested with PostgreSQL 15 and 17.
//!
//! ```yaml
//! state:
//!   type: postgres
//!   url: postgres://gabion@db.example:5432/infra
//!   schema: gabion          # the default
//! ```
//!
//! # Logging in
//! The URL names the user, or `PGUSER` does. It holds no password: that is in `PGPASSWORD`, or in the file that
//! `PGPASSFILE` names, or in `~/.pgpass`. Such a file has lines `host:port:database:user:password` as libpq's has, and
//! must be closed to others (0600); it is read for every connection, so that a password in it may change. SCRAM, MD5 and
//! clear-text passwords (the last two only as safe as the connection), `trust` and `peer` work; Kerberos and client
//! certificates do not. `PGHOST` and its like are not read: where a state is must not depend on who looks.
//!
//! A Unix socket's directory is the host: `postgres://gabion@/infra?host=/run/postgresql`.
//!
//! # TLS
//! `sslmode` means what it means to libpq:
//!
//! | `sslmode` | TLS | The server's certificate |
//! | --- | --- | --- |
//! | `disable` | none | |
//! | `prefer` | if the server has it | is not verified |
//! | `require` | always | is not verified; with `sslrootcert`, as `verify-ca` |
//! | `verify-ca` | always | is signed by a trusted authority |
//! | `verify-full` | always | is signed by a trusted authority, for the URL's host |
//!
//! Where the URL says nothing it is `verify-full`, but `prefer` for a loopback host without `sslrootcert`. That is
//! stricter than libpq, whose default is `prefer`. `allow` is refused; Unix sockets have no TLS in any mode.
//!
//! Trusted is what the file `sslrootcert` holds (PEM; relative to the project, or from `~/`), else what the system trusts
//! (`sslrootcert=system` says so too; libpq would look for `~/.postgresql/root.crt`). Names are looked for among the
//! certificate's subject alternative names; its common name does not count. A certificate that is its own authority is
//! accepted if it says that it is none (`CA:FALSE`) and the file holds it. With TLS, SCRAM is bound to the connection
//! where the server offers that; `channel_binding=require` insists. Unlike libpq, `prefer` does not try without TLS when
//! a handshake failed.
//!
//! Other parameters are `connect_timeout` (seconds; 10) and `application_name` (`gabion`). All others are refused.
//!
//! # Rights
//! The first `gabion init` or apply makes schema and tables, which takes the right to make schemas:
//!
//! ```sql
//! GRANT CREATE ON DATABASE infra TO gabion;
//! ```
//!
//! or, where an administrator makes the schema, `USAGE` and `CREATE` on it. The one who made the tables owns them; other
//! users who write need
//!
//! ```sql
//! GRANT USAGE ON SCHEMA gabion TO ada;
//! GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA gabion TO ada;
//! ```
//!
//! and for those who only plan, look and detect drift, `USAGE` and `SELECT` do; they may also use a standby. No
//! extension, no superuser, no trigger. PgBouncer may stand between, pooling sessions or transactions: nothing depends on
//! what a session was told before.
//!
//! # Tables
//! One schema holds the logs of many projects and stacks, each found by the two names.
//!
//! | Table | A row is | |
//! | --- | --- | --- |
//! | `logs` | a log | its head (lineage, sequence, chain), what a state has beside its records, digests |
//! | `events` | an event | its sequence number, its hash, its bytes |
//! | `records` | an object's record | |
//! | `bases` | the state that compacted history led to | |
//! | `leases` | who may write | the highest epoch granted; holder, heartbeat and length of the lease |
//! | `format` | the version of the tables | a later one is refused, as is one in `logs.format` |
//!
//! Events, records, parts and bases are what the [`Envelope`](gabion_engine::state::envelope::Envelope) makes of them;
//! the rest can be read by everyone who may read the tables. After content was sealed under another key, what was there
//! before is in dead rows (and backups, and the server's log of changes) until the database overwrites it: `VACUUM FULL`
//! rewrites tables. To drop a log for good: `DELETE FROM gabion.logs WHERE project = …`.
//!
//! # What holds
//! * **Order.** An append locks its log's row, so writers of one log come one after the other, and under `READ
//!   COMMITTED` a statement after the lock sees all that the one before committed. No stricter isolation is needed,
//!   because nothing that an append decides by is outside of what it locks: the log's row, and the lease's. Readers take
//!   one `REPEATABLE READ` snapshot and lock nothing.
//! * **The lease.** An append shares the lease's row (`FOR KEY SHARE`): taking the lease waits for appends under way, so
//!   that none ends after a takeover; renewing it does not wait. It has a connection of its own.
//! * **Durability.** `synchronous_commit` is raised from `off` to `on` for every transaction that writes; other settings
//!   are the administrator's. With asynchronous replication a failover may lose acknowledged appends: gabion then finds
//!   the store shorter than its head mark, and says so. `fsync = off` makes any promise void.
//! * **A lost answer.** When a connection breaks before a commit was sent, the server rolls back, and the transaction is
//!   done again on a new connection. When the answer to a commit is lost, the log is locked again, which waits for that
//!   commit's end, and then shows whether it was done. Only when the server stays away for 30 seconds is it left open:
//!   the error is one that may have written.
//! * **Bounds.** Connecting, waiting for locks, each statement, silence of the server and idling within a transaction
//!   have limits, by the server's clock and by ours. A lock that is not free in 20 seconds is `Busy`.

mod change;
mod connect;
mod error;
mod layout;
mod lease;
mod log;
mod password;
mod reseal;
mod rows;
mod session;
mod settings;
mod store;
mod tls;
mod url;
mod writes;

pub use settings::{DEFAULT_SCHEMA, PostgresSettings};
pub use store::{OpenOptions, PostgresStore};
