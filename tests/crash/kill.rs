//! Kills a command at its steps, looks at what it has left, and runs it again.
//!
//! A step is a system call that changes something. `strace` sends SIGKILL in front of the nth one of its kind in a thread,
//! for what the trace of an undisturbed run shows. Besides, the command is killed at random moments; that is all that is
//! left where tracing is not allowed.
//!
//! | variable | |
//! |---|---|
//! | `SEAWALL_CRASH_SEED` | for the same choice again |
//! | `SEAWALL_CRASH_STEPS` | how many steps of each command; `all` for every one |

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use crate::dice::Dice;
use crate::support::{Missing, Run, Scratch, Tool, announce, run};

/// The calls that change something. Sockets are written to by others (`sendto`).
const CALLS: &str = "write,pwrite64,writev,copy_file_range,rename,renameat,renameat2,link,linkat,unlink,unlinkat,rmdir,\
                     fsync,fdatasync,syncfs,ftruncate,fallocate,mkdir,mkdirat,symlink,symlinkat,chmod,fchmod";

/// Steps of a command in an ordinary run of the tests.
const STEPS: usize = 6;

/// Random moments besides.
const MOMENTS: u64 = 1;

/// Files with their content, by paths below the place.
pub type Tree = BTreeMap<String, Vec<u8>>;

/// A command in a place, and what holds there.
pub struct Scenario<'a> {
    pub name: &'static str,
    pub scratch: &'a Scratch,
    /// What is in the place before the command.
    pub template: PathBuf,
    pub tool: Tool,
    pub arguments: Vec<String>,
    /// What must hold after a kill: of what was there before, of what an undisturbed run leaves, of what is there now.
    pub intact: &'a dyn Fn(&Tree, &Tree, &Tree),
    /// What the same command says, in place of success, when it finds that all was done.
    pub done_says: Option<&'static str>,
    /// What comes after the command, if it needs to be repeated.
    pub afterwards: &'a dyn Fn(),
    /// Of the files, what is the same after every run that succeeds.
    pub result: &'a dyn Fn(Tree) -> Tree,
}

/// Where every scenario takes place.
pub fn place(scratch: &Scratch) -> PathBuf {
    scratch.absent("place")
}

/// Nothing is half written, and nothing is lost: each file is as it was, or as the command leaves it.
pub fn old_or_new(before: &Tree, after: &Tree, now: &Tree) {
    for (path, content) in now {
        let known = [before, after].into_iter().any(|tree| tree.get(path) == Some(content));
        assert!(known, "{path} has {} bytes of neither", content.len());
    }
    for path in before.keys().filter(|path| after.contains_key(*path)) {
        assert!(now.contains_key(path), "{path} is gone");
    }
}

pub fn nothing() {}

pub fn all(tree: Tree) -> Tree {
    tree
}

/// A file that is still being written, under a name that nobody takes for a finished one.
fn is_temporary(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap();
    name.ends_with(".seawall-tmp") && name.starts_with('.') || name.contains(".tmp.2")
}

/// A record of the owner without its time, which is another one in every run; other files as they are.
fn timeless(path: &str, content: Vec<u8>) -> Vec<u8> {
    if !path.ends_with("seawall_owner.json") {
        return content;
    }
    match serde_json::from_slice::<BTreeMap<String, serde_json::Value>>(&content) {
        Ok(mut owner) => {
            owner.remove("since").unwrap();
            serde_json::to_vec(&owner).unwrap()
        }
        Err(_) => content,
    }
}

/// The finished files below `place`; links with where they lead.
pub fn tree(place: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut pending = vec![place.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let name = path.strip_prefix(place).unwrap().to_str().unwrap().to_owned();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                pending.push(path);
            } else if kind.is_symlink() {
                tree.insert(name, fs::read_link(path).unwrap().into_os_string().into_encoded_bytes());
            } else if !is_temporary(&name) && !name.ends_with(".lock") {
                let content = timeless(&name, fs::read(path).unwrap());
                tree.insert(name, content);
            }
        }
    }
    tree
}

impl Scenario<'_> {
    /// Kills it here and there, each time from the beginning.
    pub fn survives(&self) {
        let seed = seed();
        let mut dice = Dice::from_seed(seed);
        let before = self.reset();
        let begin = Instant::now();
        self.run().success();
        let duration = begin.elapsed();
        (self.afterwards)();
        let after = tree(&place(self.scratch));
        let expected = (self.result)(after.clone());
        (self.intact)(&before, &after, &after);

        let survives = |what: &str, kill: &dyn Fn() -> bool| {
            self.reset();
            let was_killed = kill();
            let context = format!("{}: killed at {what}, SEAWALL_CRASH_SEED={seed}", self.name);
            let _context = OnPanic(&context);
            (self.intact)(&before, &after, &tree(&place(self.scratch)));
            let again = self.run();
            let was_done = self.done_says.is_some_and(|text| again.stderr.contains(text));
            assert!(again.code == Some(0) || was_done, "{again}");
            (self.afterwards)();
            let result = (self.result)(tree(&place(self.scratch)));
            assert_eq!(result.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
            for (path, content) in result {
                assert!(content == expected[&path], "{path}");
            }
            was_killed
        };
        self.reset();
        match self.steps() {
            Ok(steps) => {
                let chosen = choose(steps, &mut dice);
                let killed = chosen.iter().filter(|step| survives(&step.to_string(), &|| self.kill_at(step)));
                assert!(killed.count() > 0 || chosen.is_empty(), "{}: nothing was killed", self.name);
            }
            Err(missing) => announce(&format!("{} killed at exact steps", self.name), &missing),
        }
        for _ in 0..MOMENTS {
            let nanos = dice.below(u64::try_from(duration.as_nanos()).unwrap());
            let moment = Duration::from_nanos(nanos);
            survives(&format!("{moment:?}"), &|| self.kill_after(moment));
        }
    }

    /// The place as it was; its files.
    pub fn reset(&self) -> Tree {
        let place = place(self.scratch);
        if place.exists() {
            fs::remove_dir_all(&place).unwrap();
        }
        self.scratch.copy(&self.template, "place");
        tree(&place)
    }

    /// The command, undisturbed.
    pub fn run(&self) -> Run {
        self.tool.run(self.scratch, &self.arguments)
    }

    fn strace(&self, options: &[&str]) -> Command {
        strace(self.scratch, &self.tool, &self.arguments, options)
    }

    /// What an undisturbed run does.
    fn steps(&self) -> Result<Vec<Step>, Missing> {
        Ok(parse(&traced(self.scratch, &self.tool, &self.arguments)?))
    }

    fn kill_at(&self, step: &Step) -> bool {
        let inject = format!("inject={}:signal=SIGKILL:when={}", step.call, step.number);
        // Without a trace of its own an injection is not made.
        let trace = format!("trace={}", step.call);
        let only = step.path.as_deref().map_or(vec![], |path| vec!["-P", path]);
        let status = self
            .strace(&[&["-o", "/dev/null", "-e", &trace, "-e", &inject][..], &only].concat())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(status.signal() == Some(9) || status.success(), "{}: {step}: {status}", self.name);
        !status.success()
    }

    fn kill_after(&self, moment: Duration) -> bool {
        let mut command = self.tool.command(self.scratch, &self.arguments);
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        std::thread::sleep(moment);
        child.kill().unwrap();
        child.wait().unwrap().signal() == Some(9)
    }
}

fn strace(scratch: &Scratch, tool: &Tool, arguments: &[String], options: &[&str]) -> Command {
    let mut command = scratch.command("strace");
    command.args(["-f", "-qq"]).args(options).arg(tool.path()).args(arguments);
    command.envs(tool.env()).stdin(Stdio::null());
    command
}

/// The calls of a run that succeeds, as strace writes them, each descriptor with its path.
pub fn traced(scratch: &Scratch, tool: &Tool, arguments: &[String]) -> Result<String, Missing> {
    let trace = scratch.absent("trace");
    let (trace_arg, calls) = (trace.to_str().unwrap(), format!("trace={CALLS}"));
    let works =
        |arguments: &[&str]| scratch.command("strace").args(arguments).output().unwrap().status.success();
    if !works(&["-V"]) {
        return Err(Missing::installable("no strace"));
    }
    if !works(&["-qq", "-o", trace_arg, "true"]) {
        return Err(Missing::optional("tracing is not allowed here"));
    }
    run(&mut strace(scratch, tool, arguments, &["-y", "-o", trace_arg, "-e", &calls])).success();
    Ok(fs::read_to_string(trace).unwrap())
}

/// The nth call of a kind for a path; where that has another name in every run, the nth one in a thread.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Step {
    call: String,
    number: usize,
    path: Option<String>,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.call, self.number, self.path.as_deref().unwrap_or("of a thread"))
    }
}

/// The calls of a trace, but for those that write to a log or wake a thread.
fn parse(trace: &str) -> Vec<Step> {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut steps = BTreeSet::new();
    for line in trace.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let Some((call, arguments)) = call.trim_start().split_once('(') else { continue };
        if call.contains(' ') {
            continue; // resumed
        }
        let path = match call {
            "rename" | "renameat" | "renameat2" | "link" | "linkat" | "unlink" | "unlinkat" | "rmdir"
            | "mkdir" | "mkdirat" | "symlink" | "symlinkat" | "chmod" => arguments.rsplit('"').nth(1),
            _ => arguments.split_once('<').and_then(|(_, path)| Some(path.split_once('>')?.0)),
        };
        let whose = path.filter(|path| path.starts_with('/') && !is_temporary(path));
        let mut count = |whose| {
            let number = counts.entry((call, whose)).or_default();
            *number += 1;
            *number
        };
        let of_thread = count(thread);
        let number = whose.map_or(of_thread, &mut count);
        let is_file = path.is_some_and(|path| {
            let is_special = path.starts_with("/dev") || path.starts_with("/proc");
            path.starts_with('/') && !is_special || call.ends_with("at")
        });
        if is_file {
            steps.insert(Step { call: call.to_owned(), number, path: whose.map(str::to_owned) });
        }
    }
    steps.into_iter().collect()
}

/// Some of the steps, of every kind.
fn choose(steps: Vec<Step>, dice: &mut Dice) -> Vec<Step> {
    let Some(wanted) = steps_wanted() else { return steps };
    let mut by_call: BTreeMap<String, Vec<Step>> = BTreeMap::new();
    for step in steps {
        by_call.entry(step.call.clone()).or_default().push(step);
    }
    let mut chosen = Vec::new();
    while chosen.len() < wanted && !by_call.is_empty() {
        by_call.retain(|_, steps| {
            let index = dice.below(u64::try_from(steps.len()).unwrap());
            chosen.push(steps.swap_remove(usize::try_from(index).unwrap()));
            !steps.is_empty()
        });
    }
    chosen
}

/// How many steps of a command; `None` for all.
pub fn steps_wanted() -> Option<usize> {
    match std::env::var("SEAWALL_CRASH_STEPS").as_deref() {
        Ok("all") => None,
        Ok(number) => Some(number.parse().unwrap()),
        Err(_) => Some(STEPS),
    }
}

pub fn seed() -> u64 {
    let random = || u64::from(SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_nanos());
    std::env::var("SEAWALL_CRASH_SEED").map_or_else(|_| random(), |seed| seed.parse().unwrap())
}

/// Says what was going on when an assertion fails.
struct OnPanic<'a>(&'a str);

impl Drop for OnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0);
        }
    }
}
