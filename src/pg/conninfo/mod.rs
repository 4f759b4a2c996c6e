//! How to reach the server: the environment variables of libpq, its password file and its service file.
//!
//! | variable | default |
//! |---|---|
//! | PGHOST, PGHOSTADDR, PGPORT | the socket in `/var/run/postgresql` or `/tmp` if one is there, else `localhost`; 5432 |
//! | PGUSER | the name of the operating system's user, `postgres` if it has none |
//! | PGDATABASE | `postgres` (libpq: the user's name) |
//! | PGPASSWORD, PGPASSFILE | the line in `~/.pgpass` |
//! | PGSERVICE, PGSERVICEFILE | none; `~/.pg_service.conf` |
//! | PGSSLMODE, PGSSLROOTCERT, PGSSLCERT, PGSSLKEY | `prefer`; the files in `~/.postgresql` that exist |
//! | PGCONNECT_TIMEOUT, PGAPPNAME, PGOPTIONS, PGCHANNELBINDING | 30 (libpq: none); `seawall`; none; `prefer` |
//! | PGTZ | the server's `TimeZone` |
//!
//! As in libpq a service's parameters come before the variables, and an empty variable is one that is not set. Host and
//! port may be lists, tried in order; nothing else is ever tried. Source: the manual's chapters "Environment
//! Variables", "The Password File" and "The Connection Service File" of libpq.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::config::ChannelBinding;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::pg::connection_string::{Keywords, is_uri, shown, shown_user};
use crate::pg::pgpass::{PasswordFile, read_service};
use crate::pg::tls::{SslMode, TlsError, TlsFiles, client_config};

/// Where sockets are by default: of Debian's and Red Hat's packages, and of PostgreSQL itself.
const SOCKET_DIRECTORIES: [&str; 2] = ["/var/run/postgresql", "/tmp"];
const DEFAULT_PORT: u16 = 5432;
/// The longest name of an object of the database (`NAMEDATALEN` - 1).
const NAME_BYTES: usize = 63;
/// What a server that is well needs in the worst of times.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// A host that is gone is noticed after the idle time and so many questions without an answer: two minutes.
const KEEPALIVES_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVES_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVES: u32 = 6;

/// Everything needed to connect. Its Debug form holds no password.
#[derive(Debug, Clone)]
pub struct ConnInfo {
    servers: Vec<Server>,
    user: String,
    database: String,
    password: Option<SecretString>,
    password_file: PasswordFile,
    ssl_mode: SslMode,
    tls: Option<Tls>,
    application_name: String,
    options: Option<String>,
    channel_binding: ChannelBinding,
    connect_timeout: Option<Duration>,
}

/// One way to try: what to connect to, and the TLS to do it with.
pub(super) struct Attempt {
    pub server: Server,
    pub config: tokio_postgres::Config,
    pub tls: Option<MakeRustlsConnect>,
}

/// The text with `shown` in place of a name. The server cuts names.
fn without(text: &str, name: &str, shown: &str) -> String {
    if shown == name {
        return text.to_owned();
    }
    let cut = name.get(..name.floor_char_boundary(NAME_BYTES)).unwrap_or_default();
    text.replace(name, shown).replace(cut, shown)
}

impl ConnInfo {
    /// Reads libpq's variables through `variable`, and the files they name.
    pub fn from_env(variable: &dyn Fn(&str) -> Option<String>) -> Result<ConnInfo, Error> {
        ConnInfo::new(Keywords::default(), variable)
    }

    /// The same, where `given` comes before everything else.
    pub fn new(given: Keywords, variable: &dyn Fn(&str) -> Option<String>) -> Result<ConnInfo, Error> {
        let parameters = Parameters::read(given, variable)?;
        let home = home_directory(variable);

        for (keyword, variable) in [("host", "PGHOST"), ("dbname", "PGDATABASE")] {
            if parameters.get(keyword, variable).is_some_and(|name| is_uri(name.trim())) {
                return Err(Error::Uri { variable });
            }
        }
        let servers = servers(&parameters)?;
        let ssl_mode = match parameters.get("sslmode", "PGSSLMODE") {
            None => SslMode::Prefer,
            Some(text) => text.parse().map_err(|()| invalid("PGSSLMODE", text))?,
        };
        let root = parameters.get("sslrootcert", "PGSSLROOTCERT");
        let ssl_mode = match root.as_deref() {
            // libpq refuses a weaker mode with these roots, as anybody can get a certificate they trust.
            Some("system") if ssl_mode > SslMode::Disable => SslMode::VerifyFull,
            _ => ssl_mode,
        };
        let encrypts = ssl_mode != SslMode::Disable && servers.iter().any(|server| !server.is_socket());
        let tls = encrypts.then(|| {
            let files = tls_files(&parameters, root, home.as_deref());
            client_config(ssl_mode, &files).map(|config| Tls(MakeRustlsConnect::new(config)))
        });
        let password_file = parameters
            .get("passfile", "PGPASSFILE")
            .map(PathBuf::from)
            .or_else(|| home.map(|home| home.join(".pgpass")));

        Ok(ConnInfo {
            servers,
            user: parameters.get("user", "PGUSER").unwrap_or_else(|| os_user(variable)),
            database: parameters.get("dbname", "PGDATABASE").unwrap_or_else(|| String::from("postgres")),
            password: parameters.get("password", "PGPASSWORD").map(SecretString::from),
            password_file: password_file.map(|path| PasswordFile::read(&path)).unwrap_or_default(),
            ssl_mode,
            tls: tls.transpose()?,
            application_name: parameters
                .get("application_name", "PGAPPNAME")
                .unwrap_or_else(|| String::from("seawall")),
            options: options(&parameters),
            channel_binding: match parameters.get("channel_binding", "PGCHANNELBINDING").as_deref() {
                None | Some("prefer") => ChannelBinding::Prefer,
                Some("disable") => ChannelBinding::Disable,
                Some("require") => ChannelBinding::Require,
                Some(text) => return Err(invalid("PGCHANNELBINDING", text)),
            },
            connect_timeout: match parameters.get("connect_timeout", "PGCONNECT_TIMEOUT") {
                None => Some(CONNECT_TIMEOUT),
                Some(text) => {
                    let seconds: i64 =
                        text.trim().parse().map_err(|_| invalid("PGCONNECT_TIMEOUT", &text))?;
                    u64::try_from(seconds).ok().filter(|&seconds| seconds > 0).map(Duration::from_secs)
                }
            },
        })
    }

    /// The same server, another database.
    pub fn with_database(&self, database: &str) -> ConnInfo {
        ConnInfo { database: database.to_owned(), ..self.clone() }
    }

    /// The same, with this server alone.
    pub(super) fn with_server(&self, server: Server) -> ConnInfo {
        ConnInfo { servers: vec![server], ..self.clone() }
    }

    /// The first server, for messages.
    pub(super) fn server(&self) -> String {
        self.servers.first().map(ToString::to_string).unwrap_or_default()
    }

    /// The database to connect to.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The database's name for messages, and with it what the server said of it: one that may hold a password is in neither.
    pub(super) fn shown_database(&self, said: &str) -> (String, String) {
        let (database, user) = (shown(&self.database), shown_user(&self.user));
        let said = without(said, &self.database, database);
        (database.to_owned(), without(&said, &self.user, user))
    }

    /// How long one attempt may take, from the first packet to a session that is ready. libpq would wait for ever; so does
    /// this when the timeout is given as 0.
    pub(super) fn connect_timeout(&self) -> Option<Duration> {
        self.connect_timeout
    }

    /// What to try, in this order, until one succeeds.
    pub(super) fn attempts(&self) -> Vec<Attempt> {
        let mut attempts = Vec::new();
        for server in &self.servers {
            let modes: &[tokio_postgres::config::SslMode] = {
                use tokio_postgres::config::SslMode::{Disable, Prefer, Require};
                match self.ssl_mode {
                    _ if server.is_socket() => &[Disable],
                    SslMode::Disable => &[Disable],
                    SslMode::Allow => &[Disable, Require],
                    SslMode::Prefer => &[Prefer],
                    SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => &[Require],
                }
            };
            for &mode in modes {
                let mut config = self.config(server);
                config.ssl_mode(mode);
                let tls = self.tls.as_ref().filter(|_| mode != tokio_postgres::config::SslMode::Disable);
                attempts.push(Attempt { server: server.clone(), config, tls: tls.map(|tls| tls.0.clone()) });
            }
        }
        attempts
    }

    fn config(&self, server: &Server) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        config
            .user(&self.user)
            .dbname(&self.database)
            .port(server.port)
            .application_name(&self.application_name)
            .channel_binding(self.channel_binding)
            .keepalives_idle(KEEPALIVES_IDLE)
            .keepalives_interval(KEEPALIVES_INTERVAL)
            .keepalives_retries(KEEPALIVES)
            .tcp_user_timeout(KEEPALIVES_IDLE + KEEPALIVES_INTERVAL * KEEPALIVES);
        match &server.host {
            Host::Socket(directory) => config.host_path(directory),
            Host::Name(name) => config.host(name),
        };
        if let Some(address) = server.address {
            config.hostaddr(address);
        }
        if let Some(options) = &self.options {
            config.options(options);
        }
        let from_file = || {
            self.password_file.find(&server.name_in_password_file(), server.port, &self.database, &self.user)
        };
        if let Some(password) = self.password.as_ref().or_else(from_file) {
            config.password(password.expose_secret());
        }
        config
    }
}

/// A place a server listens at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    host: Host,
    address: Option<IpAddr>,
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Socket(PathBuf),
    Name(String),
}

impl Server {
    fn is_socket(&self) -> bool {
        matches!(self.host, Host::Socket(_))
    }

    fn name_in_password_file(&self) -> String {
        match &self.host {
            Host::Socket(directory)
                if SOCKET_DIRECTORIES.iter().any(|known| directory == Path::new(known)) =>
            {
                String::from("localhost")
            }
            Host::Socket(directory) => directory.display().to_string(),
            Host::Name(name) => name.clone(),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Socket(directory) => write!(f, "{}/.s.PGSQL.{}", directory.display(), self.port),
            Host::Name(name) => write!(f, "{}:{}", shown(name), self.port),
        }
    }
}

fn servers(parameters: &Parameters<'_>) -> Result<Vec<Server>, Error> {
    let list = |keyword, name| -> Vec<String> {
        let text = parameters.get(keyword, name);
        text.map(|text| text.split(',').map(|part| part.trim().to_owned()).collect()).unwrap_or_default()
    };
    let hosts = list("host", "PGHOST");
    let addresses = list("hostaddr", "PGHOSTADDR");
    let ports = list("port", "PGPORT");
    let count = hosts.len().max(addresses.len()).max(1);
    for (name, values, shared) in
        [("PGHOST", &hosts, false), ("PGHOSTADDR", &addresses, false), ("PGPORT", &ports, ports.len() == 1)]
    {
        if !values.is_empty() && values.len() != count && !shared {
            return Err(invalid(name, values.join(",")));
        }
    }

    let mut servers = Vec::new();
    for index in 0..count {
        let of = |values: &[String]| values.get(index).filter(|value| !value.is_empty()).cloned();
        let shared_port = if ports.len() == 1 { ports.first().cloned() } else { of(&ports) };
        let port = match shared_port.filter(|port| !port.is_empty()) {
            None => DEFAULT_PORT,
            Some(text) => {
                text.parse().ok().filter(|&port| port != 0).ok_or_else(|| invalid("PGPORT", text))?
            }
        };
        let address = match of(&addresses) {
            None => None,
            Some(text) => Some(text.parse::<IpAddr>().map_err(|_| invalid("PGHOSTADDR", text))?),
        };
        let host = match (of(&hosts), address) {
            (Some(host), None) if host.starts_with('/') => Host::Socket(PathBuf::from(host)),
            (Some(host), _) => Host::Name(host),
            (None, Some(address)) => Host::Name(address.to_string()),
            (None, None) => default_host(port),
        };
        servers.push(Server { host, address, port });
    }
    Ok(servers)
}

/// What is set at the start of the session. libpq sends the zone beside the options, where it counts more than theirs.
fn options(parameters: &Parameters<'_>) -> Option<String> {
    let zone = parameters.get("", "PGTZ").map(|zone| {
        let escape = |c: char| (c == '\\' || c.is_ascii_whitespace()).then_some('\\').into_iter().chain([c]);
        format!("-c TimeZone={}", zone.chars().flat_map(escape).collect::<String>())
    });
    let given = parameters.get("options", "PGOPTIONS");
    given.into_iter().chain(zone).reduce(|given, zone| format!("{given} {zone}"))
}

fn default_host(port: u16) -> Host {
    let has_socket = |directory: &&str| Path::new(directory).join(format!(".s.PGSQL.{port}")).exists();
    match SOCKET_DIRECTORIES.iter().copied().find(has_socket) {
        Some(directory) => Host::Socket(PathBuf::from(directory)),
        None => Host::Name(String::from("localhost")),
    }
}

fn tls_files(parameters: &Parameters<'_>, root: Option<String>, home: Option<&Path>) -> TlsFiles {
    let default = |name| home.map(|home| home.join(".postgresql").join(name)).filter(|path| path.exists());
    let file = |keyword, variable, name| {
        parameters.get(keyword, variable).map(PathBuf::from).or_else(|| default(name))
    };
    let certificate = file("sslcert", "PGSSLCERT", "postgresql.crt");
    let key = file("sslkey", "PGSSLKEY", "postgresql.key");
    TlsFiles {
        root_certificate: root.map(PathBuf::from).or_else(|| default("root.crt")),
        client_certificate: certificate.zip(key),
    }
}

/// A ready TLS setup, kept out of Debug.
#[derive(Clone)]
struct Tls(MakeRustlsConnect);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

/// Connection parameters: those given, then those of the service, then the environment's.
struct Parameters<'a> {
    keywords: BTreeMap<String, String>,
    variable: &'a dyn Fn(&str) -> Option<String>,
}

impl<'a> Parameters<'a> {
    fn read(given: Keywords, variable: &'a dyn Fn(&str) -> Option<String>) -> Result<Parameters<'a>, Error> {
        let given = Parameters { keywords: given.into_map(), variable };
        let Some(service) = given.get("service", "PGSERVICE") else { return Ok(given) };
        let system =
            given.get("", "PGSYSCONFDIR").map(|directory| Path::new(&directory).join("pg_service.conf"));
        let user = match given.get("", "PGSERVICEFILE") {
            Some(path) => Some(PathBuf::from(path)),
            None => home_directory(variable).map(|home| home.join(".pg_service.conf")),
        };
        for path in user.into_iter().chain(system) {
            match read_service(&path, &service) {
                Ok(Some(mut keywords)) => {
                    keywords.extend(given.keywords);
                    return Ok(Parameters { keywords, variable });
                }
                Ok(None) => continue,
                Err(source) => return Err(Error::ServiceFile { path, source }),
            }
        }
        Err(Error::NoService { service: shown(&service).to_owned() })
    }

    fn get(&self, keyword: &str, name: &str) -> Option<String> {
        let value = self.keywords.get(keyword).cloned().or_else(|| (self.variable)(name));
        value.filter(|value| !value.is_empty())
    }
}

fn home_directory(variable: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let home = variable("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    home.or_else(|| nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten().map(|user| user.dir))
}

/// The name of the process's user; in a container its number may have none.
fn os_user(variable: &dyn Fn(&str) -> Option<String>) -> String {
    let known = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten().map(|user| user.name);
    known
        .or_else(|| variable("USER").filter(|user| !user.is_empty()))
        .unwrap_or_else(|| String::from("postgres"))
}

fn invalid(variable: &'static str, value: impl Into<String>) -> Error {
    Error::Invalid { variable, value: shown(&value.into()).to_owned() }
}

/// Why it is not clear how to connect.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A value libpq would refuse, of this variable or of its keyword in the service file.
    #[error("read connection parameters: {variable} has the invalid value {value:?}")]
    Invalid {
        /// The variable.
        variable: &'static str,
        /// Its value.
        value: String,
    },
    /// A URI, which may hold a password, where a name belongs.
    #[error(
        "read connection parameters: {variable} is a URI, which is not supported: give host, port, user and database apart"
    )]
    Uri {
        /// The variable.
        variable: &'static str,
    },
    /// The service asked for is in none of the service files.
    #[error("read connection parameters: no definition of service {service:?} found")]
    NoService {
        /// Its name.
        service: String,
    },
    /// The service file cannot be read.
    #[error("read service file {}: {source}", path.display())]
    ServiceFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// TLS cannot be prepared.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

#[cfg(test)]
mod tests;
