//! Database URLs: `postgres://user@host:5432/database?sslmode=verify-full`, as libpq reads them, without passwords.

use std::net::IpAddr;
use std::ops::Range;
use std::path::PathBuf;

use gabion_engine::diagnostic::suggestion;
use percent_encoding::percent_decode_str;

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Host {
    /// A name or an address.
    Tcp(String),
    /// The directory of its Unix socket.
    Unix(PathBuf),
}

/// How much TLS a connection must have, as libpq's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TlsMode {
    /// None.
    Disable,
    /// If the server has it; nothing is verified.
    Prefer,
    /// Always; nothing is verified.
    Require,
    /// Always, and an authority that is trusted must have signed the server's certificate.
    VerifyCa,
    /// As `VerifyCa`, and the certificate must be for the host.
    VerifyFull,
}

/// Whether the login must be bound to the TLS connection, as libpq's `channel_binding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Binding {
    /// It is not.
    Disable,
    /// It is where both sides can.
    Prefer,
    /// It must be.
    Require,
}

/// Where a database is and how it is reached: what a URL says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DatabaseUrl {
    pub(super) host: Host,
    pub(super) port: u16,
    pub(super) user: Option<String>,
    pub(super) database: String,
    pub(super) tls: TlsMode,
    /// The file with the certificates that are trusted; `None` is what the system trusts.
    pub(super) root_certificate: Option<String>,
    pub(super) binding: Binding,
    /// How long connecting may take, in seconds.
    pub(super) connect_timeout: Option<u32>,
    pub(super) application_name: String,
}

/// Why a text is no such URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UrlProblem {
    /// Where in the text.
    pub(super) range: Range<usize>,
    /// Why, as full sentences. It never repeats what could be a password.
    pub(super) why: String,
    /// What to do.
    pub(super) hint: String,
}

/// The parameters that are read.
const PARAMETERS: [&str; 9] = [
    "application_name",
    "channel_binding",
    "connect_timeout",
    "dbname",
    "host",
    "port",
    "sslmode",
    "sslrootcert",
    "user",
];

const EXAMPLE: &str = "postgres://user@host:5432/database";

impl DatabaseUrl {
    /// Reads a URL.
    pub(super) fn parse(text: &str) -> Result<Self, UrlProblem> {
        let scheme = ["postgres://", "postgresql://"]
            .into_iter()
            .find(|scheme| text.starts_with(scheme));
        let Some(scheme) = scheme else {
            return Err(UrlProblem {
                range: 0..text.len(),
                why: "A database URL starts with `postgres://`.".to_owned(),
                hint: format!("such as `{EXAMPLE}`"),
            });
        };
        let start = scheme.len();
        let end = text[start..].find(['/', '?']).map_or(text.len(), |at| start + at);
        let (user, place) = match text[start..end].rfind('@') {
            Some(at) => (Some(start..start + at), start + at + 1..end),
            None => (None, start..end),
        };
        let user = match user {
            Some(range) => {
                if let Some(colon) = text[range.clone()].find(':') {
                    return Err(password_problem(range.start + colon + 1..range.end));
                }
                Some(decoded(text, range)?)
            }
            None => None,
        };
        let (host, port) = address(text, place)?;
        let query = text[end..].find('?').map_or(text.len(), |at| end + at);
        let path = if end < query { end + 1..query } else { query..query };
        let database = Some(decoded(text, path)?).filter(|name| !name.is_empty());
        let read = Read {
            host,
            port,
            user: user.filter(|user| !user.is_empty()),
            database,
            ..Read::default()
        };
        read.parameters(text, query)?.finish(text)
    }

    /// Returns the host for messages.
    pub(super) fn shown_host(&self) -> String {
        match &self.host {
            Host::Tcp(name) if name.contains(':') => format!("[{name}]"),
            Host::Tcp(name) => name.clone(),
            Host::Unix(directory) => directory.display().to_string(),
        }
    }
}

/// What was read so far.
#[derive(Default)]
struct Read {
    host: Option<String>,
    port: Option<u16>,
    user: Option<String>,
    database: Option<String>,
    tls: Option<TlsMode>,
    root_certificate: Option<String>,
    binding: Option<Binding>,
    connect_timeout: Option<u32>,
    application_name: Option<String>,
}

impl Read {
    fn parameters(mut self, text: &str, query: usize) -> Result<Self, UrlProblem> {
        let mut start = query + 1;
        while start < text.len() {
            let end = text[start..].find('&').map_or(text.len(), |at| start + at);
            if end > start {
                self.parameter(text, start..end)?;
            }
            start = end + 1;
        }
        Ok(self)
    }

    fn parameter(&mut self, text: &str, range: Range<usize>) -> Result<(), UrlProblem> {
        let Some(equals) = text[range.clone()].find('=') else {
            return Err(UrlProblem {
                range,
                why: "A parameter has the form `name=value`.".to_owned(),
                hint: "such as `?sslmode=verify-full`".to_owned(),
            });
        };
        let name = &text[range.start..range.start + equals];
        let value_range = range.start + equals + 1..range.end;
        let value = decoded(text, value_range.clone())?;
        let not_one_of = |words: &str| UrlProblem {
            range: value_range.clone(),
            why: format!("`{name}` is one of {words}."),
            hint: "write one of these words".to_owned(),
        };
        match name {
            "host" => self.host = Some(value),
            "user" => self.user = Some(value),
            "dbname" => self.database = Some(value),
            "application_name" => self.application_name = Some(value),
            "sslrootcert" => self.root_certificate = Some(value),
            "port" => self.port = Some(port(&value, value_range)?),
            "connect_timeout" => {
                let seconds = value.parse().ok().filter(|seconds| (1..=600).contains(seconds));
                self.connect_timeout = Some(seconds.ok_or_else(|| UrlProblem {
                    range: value_range,
                    why: "`connect_timeout` is a number of seconds from 1 to 600.".to_owned(),
                    hint: "such as `connect_timeout=10`".to_owned(),
                })?);
            }
            "sslmode" => {
                self.tls = Some(match value.as_str() {
                    "disable" => TlsMode::Disable,
                    "prefer" => TlsMode::Prefer,
                    "require" => TlsMode::Require,
                    "verify-ca" => TlsMode::VerifyCa,
                    "verify-full" => TlsMode::VerifyFull,
                    _ => {
                        return Err(not_one_of(
                            "`disable`, `prefer`, `require`, `verify-ca` and `verify-full`",
                        ));
                    }
                });
            }
            "channel_binding" => {
                self.binding = Some(match value.as_str() {
                    "disable" => Binding::Disable,
                    "prefer" => Binding::Prefer,
                    "require" => Binding::Require,
                    _ => return Err(not_one_of("`disable`, `prefer` and `require`")),
                });
            }
            "password" | "sslpassword" => return Err(password_problem(value_range)),
            "passfile" => {
                return Err(UrlProblem {
                    range,
                    why: "The file with the password is named by the variable `PGPASSFILE`.".to_owned(),
                    hint: "take `passfile` out, and set `PGPASSFILE`".to_owned(),
                });
            }
            _ => {
                let hint = suggestion(name, PARAMETERS);
                return Err(UrlProblem {
                    range: range.start..range.start + equals,
                    why: format!("gabion reads no parameter `{name}` in a database URL."),
                    hint: hint.unwrap_or_else(|| format!("it reads {}", PARAMETERS.join(", "))),
                });
            }
        }
        Ok(())
    }

    fn finish(self, text: &str) -> Result<DatabaseUrl, UrlProblem> {
        let problem = |why: &str, hint: &str| UrlProblem {
            range: 0..text.len(),
            why: why.to_owned(),
            hint: hint.to_owned(),
        };
        let Some(host) = self.host.filter(|host| !host.is_empty()) else {
            return Err(problem(
                "The URL names no host.",
                "such as `postgres://user@host/database`, or for a Unix socket \
                 `postgres://user@/database?host=/run/postgresql`",
            ));
        };
        if host.contains(',') {
            return Err(problem(
                "gabion connects to one server: only one can take writes.",
                "name the host that leads to the primary: that of a proxy, or a virtual address",
            ));
        }
        let Some(database) = self.database else {
            return Err(problem(
                "The URL names no database.",
                &format!("such as `{EXAMPLE}`"),
            ));
        };
        let host = match host.starts_with('/') {
            true => Host::Unix(host.into()),
            false => Host::Tcp(host),
        };
        let root_certificate = self.root_certificate.filter(|path| path != "system");
        let tls = match (&host, self.tls, &root_certificate) {
            // There is no TLS on Unix sockets, whatever is asked for: as libpq has it.
            (Host::Unix(_), ..) => TlsMode::Disable,
            (Host::Tcp(_), Some(TlsMode::Disable | TlsMode::Prefer), Some(_)) => {
                return Err(problem(
                    "`sslrootcert` has no meaning with this `sslmode`: nothing is verified.",
                    "write `sslmode=verify-full`",
                ));
            }
            (Host::Tcp(_), Some(TlsMode::Require), Some(_)) => TlsMode::VerifyCa,
            (Host::Tcp(_), Some(mode), _) => mode,
            (Host::Tcp(name), None, None) if is_loopback(name) => TlsMode::Prefer,
            (Host::Tcp(_), None, _) => TlsMode::VerifyFull,
        };
        Ok(DatabaseUrl {
            host,
            port: self.port.unwrap_or(5432),
            user: self.user,
            database,
            tls,
            root_certificate,
            binding: self.binding.unwrap_or(Binding::Prefer),
            connect_timeout: self.connect_timeout,
            application_name: self.application_name.unwrap_or_else(|| "gabion".to_owned()),
        })
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Reads `host`, `host:port`, `[address]:port` and an escaped directory.
fn address(text: &str, range: Range<usize>) -> Result<(Option<String>, Option<u16>), UrlProblem> {
    let part = &text[range.clone()];
    let (host, rest) = match part.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((address, rest)) => (address.to_owned(), rest),
        None => {
            let at = part.rfind(':').unwrap_or(part.len());
            (decoded(text, range.start..range.start + at)?, &part[at..])
        }
    };
    let number = range.end - rest.len();
    let port = match rest.strip_prefix(':') {
        Some("") | None => None,
        Some(rest) => Some(port(rest, number + 1..range.end)?),
    };
    Ok((Some(host).filter(|host| !host.is_empty()), port))
}

fn port(text: &str, range: Range<usize>) -> Result<u16, UrlProblem> {
    text.parse()
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(|| UrlProblem {
            range,
            why: "A port is a number from 1 to 65535.".to_owned(),
            hint: "PostgreSQL's is 5432 unless it was set otherwise".to_owned(),
        })
}

fn decoded(text: &str, range: Range<usize>) -> Result<String, UrlProblem> {
    let decoded = percent_decode_str(&text[range.clone()]).decode_utf8().ok();
    match decoded.filter(|text| !text.contains('\0')) {
        Some(text) => Ok(text.into_owned()),
        None => Err(UrlProblem {
            range,
            why: "This is no text once its `%` escapes are read.".to_owned(),
            hint: "escape as in any URL: `%2F` is `/`".to_owned(),
        }),
    }
}

fn password_problem(range: Range<usize>) -> UrlProblem {
    UrlProblem {
        range,
        why: "A password must not be written here: the file is shared, and kept for good where it is committed."
            .to_owned(),
        hint: "take it out, change it if others have seen it, and set `PGPASSWORD`, or `PGPASSFILE` to a file \
               with it, when gabion runs"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> DatabaseUrl {
        DatabaseUrl::parse(text).unwrap_or_else(|problem| panic!("{text}: {problem:?}"))
    }

    #[test]
    fn a_url_is_read_as_libpq_reads_it() {
        let url =
            parse("postgresql://ada%40x@db.example:6432/infra%2Fa?application_name=ci&connect_timeout=3");
        assert_eq!(url.host, Host::Tcp("db.example".to_owned()));
        assert_eq!((url.port, url.user.as_deref()), (6432, Some("ada@x")));
        assert_eq!(
            (url.database.as_str(), url.application_name.as_str()),
            ("infra/a", "ci")
        );
        assert_eq!(url.connect_timeout, Some(3));
        let url = parse("postgres://[::1]/d");
        assert_eq!(
            (url.shown_host().as_str(), url.port, url.user),
            ("[::1]", 5432, None)
        );
        for text in [
            "postgres://ada@%2Frun%2Fpg:5433/d",
            "postgres://ada@:5433/d?host=/run/pg",
            "postgres:///?host=/run/pg&port=5433&user=ada&dbname=d&sslmode=require",
        ] {
            let url = parse(text);
            assert_eq!(url.host, Host::Unix("/run/pg".into()), "{text}");
            assert_eq!((url.port, url.user.as_deref()), (5433, Some("ada")), "{text}");
            assert_eq!(url.tls, TlsMode::Disable);
        }
    }

    #[test]
    fn servers_elsewhere_are_verified_unless_told_otherwise() {
        for (text, tls) in [
            ("postgres://db.example/d", TlsMode::VerifyFull),
            ("postgres://10.0.0.7/d", TlsMode::VerifyFull),
            ("postgres://localhost/d", TlsMode::Prefer),
            ("postgres://127.0.0.2:5433/d", TlsMode::Prefer),
            ("postgres://[::1]/d", TlsMode::Prefer),
            ("postgres://localhost/d?sslrootcert=/ca.pem", TlsMode::VerifyFull),
            ("postgres://db.example/d?sslmode=disable", TlsMode::Disable),
            ("postgres://db.example/d?sslmode=prefer", TlsMode::Prefer),
            ("postgres://db.example/d?sslmode=require", TlsMode::Require),
            (
                "postgres://db.example/d?sslmode=require&sslrootcert=/ca.pem",
                TlsMode::VerifyCa,
            ),
            ("postgres://db.example/d?sslmode=verify-ca", TlsMode::VerifyCa),
            (
                "postgres://localhost/d?sslmode=verify-full&sslrootcert=system",
                TlsMode::VerifyFull,
            ),
        ] {
            assert_eq!(parse(text).tls, tls, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_its_place() {
        for (text, place, why) in [
            ("mysql://h/d", "mysql://h/d", "postgres://"),
            ("postgres://ada:hunter2@h/d", "hunter2", "password"),
            ("postgres://ada:hunt@er2@h/d", "hunt@er2", "password"),
            ("postgres://h/d?password=hunter2", "hunter2", "password"),
            ("postgres://h/d?passfile=/x", "passfile=/x", "PGPASSFILE"),
            ("postgres://h:http/d", "http", "port"),
            ("postgres://h:0/d", "0", "port"),
            ("postgres://h/d?sslmode=allow", "allow", "verify-full"),
            ("postgres://h/d?sslmod=require", "sslmod", "no parameter"),
            ("postgres://h/d?sslcert=/x", "sslcert", "no parameter"),
            ("postgres://h/d?sslmode", "sslmode", "name=value"),
            ("postgres://h/d?connect_timeout=0", "0", "600"),
            ("postgres://h/%ff", "%ff", "escapes"),
        ] {
            let problem = DatabaseUrl::parse(text).expect_err(text);
            assert_eq!(&text[problem.range.clone()], place, "{text}");
            assert!(problem.why.contains(why), "{text}: {problem:?}");
            assert!(
                !format!("{} {}", problem.why, problem.hint).contains("hunt"),
                "{text}"
            );
        }
        for text in [
            "postgres:///d",
            "postgres://h",
            "postgres://a,b/d",
            "postgres://h/d?sslmode=prefer&sslrootcert=/ca.pem",
        ] {
            assert!(DatabaseUrl::parse(text).is_err(), "{text}");
        }
    }
}
