//! Commands that are told by a line: those that only look, and those that change a repository and can be repeated.

use std::sync::OnceLock;

use crate::case::{Case, Ended, Objects, Trial, is_of_its_own_kind};
use crate::support::{Fault, Run};

/// How a command reaches the storage.
#[derive(Clone, Copy)]
pub enum Way {
    /// With the faults in its way.
    Through,
    /// With none.
    Past,
}

impl Way {
    pub fn endpoint(self, case: &Case<'_>) -> String {
        match self {
            Way::Through => case.proxy.endpoint(),
            Way::Past => case.bucket.setting("AWS_ENDPOINT").to_owned(),
        }
    }
}

/// Calls a command.
pub type Call<'a> = Box<dyn Fn(&Case<'_>, Way) -> Run + Sync + 'a>;

/// What a bucket holds.
pub fn content(case: &Case<'_>) -> Objects {
    case.bucket.keys().into_iter().map(|key| (key.clone(), case.bucket.get(&key))).collect()
}

/// A command that changes nothing: it says what it says without a fault, or nothing, or what is missing in it.
pub struct Looks<'a> {
    objects: Objects,
    call: Call<'a>,
    code: i32,
    failure_codes: &'static [i32],
    said: OnceLock<String>,
}

impl<'a> Looks<'a> {
    pub fn new(objects: &Objects, failure_codes: &'static [i32], call: Call<'a>) -> Self {
        Self { objects: objects.clone(), call, code: 0, failure_codes, said: OnceLock::new() }
    }

    /// What it finds makes it end with this code.
    pub fn ending_with(self, code: i32) -> Self {
        Self { code, ..self }
    }
}

impl Trial for Looks<'_> {
    fn objects(&self) -> &Objects {
        &self.objects
    }

    fn run(&self, case: &Case<'_>) -> Run {
        (self.call)(case, Way::Through)
    }

    fn code(&self) -> i32 {
        self.code
    }

    fn failure_codes(&self) -> &[i32] {
        self.failure_codes
    }

    fn minds(&self, fault: Fault) -> bool {
        is_of_its_own_kind(fault)
    }

    fn check(&self, case: &Case<'_>, ended: Ended, run: &Run) {
        assert!(content(case) == self.objects);
        if ended == Ended::Done {
            // Each case has objects of its own time.
            let lines = run.stdout.lines().filter(|line| !line.starts_with("modified: "));
            let said = lines.collect::<Vec<_>>().join("\n");
            // Or which document it could not read, as barman does in a catalogue.
            let warned = run.stderr.contains("WARNING: ") && run.stderr.contains("cannot read");
            assert!(*self.said.get_or_init(|| said.clone()) == said || warned, "{run}");
        }
    }
}

/// A command that changes the repository: whenever it failed, the same one again does the rest.
pub struct Changes<'a> {
    objects: Objects,
    call: Call<'a>,
    failure_codes: &'static [i32],
    /// What holds of what was there before, of what the command leaves, of what is there after a failure.
    intact: fn(&Objects, &Objects, &Objects),
    /// What it says, in place of success, when all was done.
    done_says: Option<&'static str>,
    /// Without a fault.
    result: OnceLock<Objects>,
}

impl<'a> Changes<'a> {
    pub fn new(
        objects: &Objects,
        failure_codes: &'static [i32],
        intact: fn(&Objects, &Objects, &Objects),
        call: Call<'a>,
    ) -> Self {
        let result = OnceLock::new();
        Self { objects: objects.clone(), call, failure_codes, intact, done_says: None, result }
    }

    pub fn done_says(self, text: &'static str) -> Self {
        Self { done_says: Some(text), ..self }
    }

    /// What it leaves, once it was tried.
    pub fn result(&self) -> &Objects {
        self.result.get().unwrap()
    }
}

impl Trial for Changes<'_> {
    fn objects(&self) -> &Objects {
        &self.objects
    }

    fn run(&self, case: &Case<'_>) -> Run {
        (self.call)(case, Way::Through)
    }

    fn failure_codes(&self) -> &[i32] {
        self.failure_codes
    }

    fn minds(&self, fault: Fault) -> bool {
        is_of_its_own_kind(fault)
    }

    fn check(&self, case: &Case<'_>, ended: Ended, _: &Run) {
        let result = self.result.get_or_init(|| content(case));
        if ended == Ended::Failed {
            (self.intact)(&self.objects, result, &content(case));
            let again = (self.call)(case, Way::Past);
            let was_done = self.done_says.is_some_and(|text| again.stderr.contains(text));
            assert!(again.code == Some(0) || was_done, "{again}");
        }
        let now = content(case);
        assert_eq!(now.keys().collect::<Vec<_>>(), result.keys().collect::<Vec<_>>());
        assert!(now == *result);
    }
}

/// Each object is as it was, or as the command leaves it.
pub fn old_or_new(before: &Objects, after: &Objects, now: &Objects) {
    for (key, content) in now {
        assert!([before, after].into_iter().any(|objects| objects.get(key) == Some(content)), "{key}");
    }
    for key in before.keys().filter(|key| after.contains_key(*key)) {
        assert!(now.contains_key(key), "{key} is gone");
    }
}
