//! Log lines as wal-g or barman writes them, to stderr or appended to a file.
//!
//! | dialect | line |
//! |---|---|
//! | wal-g (`tracelog`) | `INFO: 2026/11/21 02:34:08.631381 pushed file=00000001…` |
//! | barman (Python's `logging`) | `2026-11-21 02:34:08,631 [4711] INFO: pushed file=00000001…` |
//!
//! Level, local time, message, fields; one line feed at the end. Only this crate's events are shown.

use std::fmt::{self, Write as _};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex};

use indicatif::MultiProgress;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::settings::{Settings, keys};

use super::Error;

/// Where log lines go and which of them.
#[derive(Debug)]
pub struct LogConfig {
    level: LevelFilter,
    form: Form,
    destination: Destination,
}

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    WalG,
    Barman,
}

#[derive(Debug)]
enum Destination {
    Stderr,
    File(File),
}

impl LogConfig {
    /// What `WALG_LOG_LEVEL` and `WALG_LOG_DESTINATION` say. Opens the log file.
    pub fn from_settings(settings: &Settings) -> Result<LogConfig, Error> {
        let level = match settings.choice(&keys::LOG_LEVEL)? {
            Some("DEVEL") => LevelFilter::DEBUG,
            Some("ERROR") => LevelFilter::ERROR,
            _ => LevelFilter::INFO,
        };
        let path = settings.path(&keys::LOG_DESTINATION).unwrap_or_else(|| PathBuf::from("stderr"));
        if path.as_os_str() == "stderr" || path.as_os_str() == "/dev/stderr" {
            return Ok(LogConfig { level, ..LogConfig::default() });
        }
        let file = OpenOptions::new().append(true).create(true).mode(0o644).open(&path);
        let file = file.map_err(|source| Error::LogFile { path, source })?;
        Ok(LogConfig { level, destination: Destination::File(file), ..LogConfig::default() })
    }

    /// barman's lines on stderr: warnings and errors, with each step of `verbosity` one level more or less.
    pub fn barman(verbosity: i64) -> LogConfig {
        let level = match verbosity {
            ..=-2 => LevelFilter::OFF,
            -1 => LevelFilter::ERROR,
            0 => LevelFilter::WARN,
            1 => LevelFilter::INFO,
            2.. => LevelFilter::DEBUG,
        };
        LogConfig { level, form: Form::Barman, destination: Destination::Stderr }
    }
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        LogConfig { level: LevelFilter::INFO, form: Form::WalG, destination: Destination::Stderr }
    }
}

/// Starts logging; later calls have no effect. `bars` are hidden while a line is written to the same terminal.
pub fn start(config: LogConfig, bars: MultiProgress) {
    let zone = LazyLock::new(local_zone as fn() -> TimeZone);
    let lines = Lines { form: config.form, destination: Mutex::new(config.destination), bars, zone };
    // Only a subscriber of an earlier call can be in the way, which is as good.
    let _ = tracing_subscriber::registry().with(lines.with_filter(config.level)).try_init();
}

/// Writes text to stderr that is no log line: the usage after a wrong command line.
pub fn to_stderr(text: &str) {
    // There is no place left to tell that stderr is closed.
    let _ = io::stderr().write_all(text.as_bytes());
}

/// The subscriber that writes the lines.
struct Lines {
    form: Form,
    destination: Mutex<Destination>,
    bars: MultiProgress,
    zone: LazyLock<TimeZone>,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if !event.metadata().target().starts_with("seawall") {
            return;
        }
        let line = line(self.form, event, &Timestamp::now().to_zoned(self.zone.clone()));
        let mut destination = self.destination.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // A log that cannot be written must not stop the archiving of WAL.
        let _ = match &mut *destination {
            Destination::Stderr => self.bars.suspend(|| io::stderr().write_all(line.as_bytes())),
            Destination::File(file) => file.write_all(line.as_bytes()),
        };
    }
}

/// The system's time zone. Its rules are read from where the system keeps them: to learn its name too, which no line
/// shows, the library would list the directories of all zones.
fn local_zone() -> TimeZone {
    let rules = match std::env::var_os("TZ") {
        Some(_) => None,
        None => fs::read("/etc/localtime").ok(),
    };
    rules.and_then(|rules| TimeZone::tzif("local", &rules).ok()).unwrap_or_else(TimeZone::system)
}

fn line(form: Form, event: &Event<'_>, now: &jiff::Zoned) -> String {
    let mut text = Text::default();
    event.record(&mut text);
    let level = match *event.metadata().level() {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        Level::DEBUG | Level::TRACE => "DEBUG",
    };
    let message = text.message.trim_end_matches('\n');
    match form {
        Form::WalG => {
            let time = now.strftime("%Y/%m/%d %H:%M:%S%.6f");
            format!("{level}: {time} {message}{}\n", text.fields)
        }
        Form::Barman => {
            let (time, process) = (now.strftime("%Y-%m-%d %H:%M:%S,%3f"), std::process::id());
            format!("{time} [{process}] {level}: {message}{}\n", text.fields)
        }
    }
}

/// The message of an event, and its fields as ` key=value`.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        let bare =
            !value.is_empty() && !value.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"');
        if field.name() == "message" || bare {
            self.record_debug(field, &format_args!("{value}"));
        } else {
            self.record_debug(field, &value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing into a String cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    struct Kept(Form, Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Kept {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let now: jiff::Zoned = "2026-11-21T02:34:08.631381+05:00[+05:00]".parse().unwrap();
            self.1.lock().unwrap().push(line(self.0, event, &now));
        }
    }

    fn lines(form: Form, events: impl FnOnce()) -> Vec<String> {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let subscriber = tracing_subscriber::registry().with(Kept(form, Arc::clone(&kept)));
        tracing::subscriber::with_default(subscriber, events);
        std::mem::take(&mut *kept.lock().unwrap())
    }

    #[test]
    fn lines_look_like_barman_s() {
        let lines = lines(Form::Barman, || tracing::warn!(file = "00000001", "two\nhint: do"));
        let process = std::process::id();
        assert_eq!(
            lines,
            [format!("2026-11-21 02:34:08,631 [{process}] WARNING: two\nhint: do file=00000001\n")]
        );
    }

    #[test]
    fn lines_look_like_wal_g_s() {
        let lines = lines(Form::WalG, || {
            tracing::info!(file = "00000001", bytes = 16, took = ?std::time::Duration::from_millis(3), "pushed");
            tracing::warn!(path = "a b", "two\n");
            tracing::error!("what: why\nhint: do");
            tracing::debug!(name = %"x", "seen");
        });
        assert_eq!(
            lines,
            [
                "INFO: 2026/11/21 02:34:08.631381 pushed file=00000001 bytes=16 took=3ms\n",
                "WARNING: 2026/11/21 02:34:08.631381 two path=\"a b\"\n",
                "ERROR: 2026/11/21 02:34:08.631381 what: why\nhint: do\n",
                "DEBUG: 2026/11/21 02:34:08.631381 seen name=x\n",
            ]
        );
    }
}
