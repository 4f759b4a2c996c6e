//! A directory for one test, and the user that PostgreSQL and the tool run as in it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::{Uid, User};

use super::available::Missing;
use super::command::run;

/// A directory that is gone when the test ends. All in it belongs to [`Scratch::user`].
pub struct Scratch {
    dir: tempfile::TempDir,
    user: User,
    confined: bool,
}

/// Nobody has it.
const UNNAMED_USER: u32 = 54_321;

/// Mounts all read-only but for the scratch directory and where memory is shared, then becomes the user, without a way to more
/// rights. Runs in a mount namespace of its own, with the scratch directory as `$0` and the user as `$1`.
const CONFINE: &str = r#"
user=$1
shift
mount --bind "$0" "$0"
while read -r _ at _; do
    case $at in "$0" | /dev/shm | /proc | /sys) continue ;; esac
    mount -o remount,bind,ro "$at" 2>/dev/null || true
done </proc/self/mounts
exec setpriv --pdeathsig INT --reuid="$user" --regid="$user" --clear-groups --no-new-privs "$@"
"#;

impl Scratch {
    /// A short path, because a socket's path has at most 107 bytes.
    pub fn new() -> Self {
        Self::of(unprivileged_user(), false)
    }

    /// As a container on OpenShift: the user's id has no name and no HOME, and nothing can be written but the scratch directory.
    /// There is no initdb for such a user; a test makes the template of its clusters before.
    pub fn confined() -> Result<Self, Missing> {
        let namespace = Uid::effective().is_root()
            && run(Command::new("unshare").args(["--mount", "--propagation", "private", "true"])).code
                == Some(0);
        if !namespace {
            return Err(Missing::optional("no root, or no mount namespaces, to confine a user"));
        }
        let user = User { uid: UNNAMED_USER.into(), gid: UNNAMED_USER.into(), ..unprivileged_user() };
        Ok(Self::of(user, true))
    }

    fn of(user: User, confined: bool) -> Self {
        let dir = tempfile::Builder::new().prefix("sw").tempdir().unwrap();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let scratch = Self { dir, user, confined };
        scratch.own(scratch.path());
        scratch
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// PostgreSQL refuses to run as root, so root's tests run it as `postgres`.
    pub fn user(&self) -> &User {
        &self.user
    }

    /// A path in the scratch directory that does not exist yet.
    pub fn absent(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub fn dir(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir(&path).unwrap();
        self.own(&path);
        path
    }

    pub fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, content).unwrap();
        self.own(&path);
        path
    }

    /// A copy of a directory tree, or of a file, that the user may change.
    pub fn copy(&self, from: &Path, name: &str) -> PathBuf {
        let to = self.path().join(name);
        run(Command::new("cp").arg("-a").arg("--reflink=auto").arg(from).arg(&to)).success();
        run(Command::new("chmod").arg("-R").arg("u+rwX").arg(&to)).success();
        self.own(&to);
        to
    }

    /// Gives `path` and all below it to the user.
    pub fn own(&self, path: &Path) {
        if Uid::effective().is_root() {
            let owner = format!("{}:{}", self.user.uid, self.user.gid);
            run(Command::new("chown").arg("-R").arg(owner).arg(path)).success();
        }
    }

    /// A command run as the user, with nothing of the environment of the tests but PATH.
    ///
    /// It ends when the thread that started it does (a test that is stopped leaves no process behind).
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        if self.confined {
            return self.confined_command(program);
        }
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "INT"]);
        if Uid::effective().is_root() {
            command.arg(format!("--reuid={}", self.user.uid)).arg(format!("--regid={}", self.user.gid));
            command.arg("--init-groups");
        }
        command.arg("--").arg(program);
        command.env_clear().current_dir(self.path());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
            .env("HOME", self.path())
            .env("USER", &self.user.name)
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC");
        command.env("TMPDIR", self.path());
        command
    }

    fn confined_command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "--", "sh", "-c", CONFINE]);
        command.arg(self.path()).arg(UNNAMED_USER.to_string()).arg(program);
        command.env_clear().current_dir("/").env("TMPDIR", self.path());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
    }
}

fn unprivileged_user() -> User {
    let own = Uid::effective();
    if own.is_root() {
        User::from_name("postgres").unwrap().expect("root's tests run PostgreSQL as the user postgres")
    } else {
        User::from_uid(own).unwrap().expect("the user of the tests has a name")
    }
}
