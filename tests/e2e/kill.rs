//! The operator is killed in each of many updates, and each update comes to its end without losing a request.
//!
//! `make test` runs it as it is; `make soak COUNT=n` runs it for as many updates as it is told ([`UPDATES`]). What a run
//! does follows from its seed, which it prints and takes again ([`SEED`]).

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use operator::backoff::Jitter;
use tests::deployed::BAD;
use tests::docker_cli;
use tests::installation::{self, Installation};
use tests::kubectl::Kubectl;
use tests::load::Load;
use tests::report;
use tests::states::States;

use crate::shop::{self, HOST, NAME, OBJECT, PATIENCE};

/// Names the number of updates, if it is not [`ENOUGH`].
const UPDATES: &str = "MOORING_UPDATES";
/// Names the seed, if it is not taken from the clock.
const SEED: &str = "MOORING_SEED";
/// So many updates hit every state that lasts [`LASTS`] at least [`HITS`] times.
const ENOUGH: u32 = 40;
/// A shorter state is the crash suite's.
const LASTS: Duration = Duration::from_millis(100);
/// How often each longer state must be hit.
const HITS: u32 = 2;
/// Of so many updates in a row the second and the fourth are killed in the state that was hit least, the others at a
/// random moment.
const TURN: u32 = 5;
/// Of those killed at a random moment so many bring one release that never becomes ready.
const BAD_AFTER: u32 = 6;
/// Instances: two, so that one is left while another goes.
const REPLICAS: u32 = 2;
/// Requests a second.
const RATE: u32 = 200;
/// What an update is in before the watch shows its Release.
const UNSEEN: &str = "(none yet)";
/// What an update is in that was faster than its kill.
const OVER: &str = "(over)";

#[test]
fn an_operator_killed_in_each_update_loses_no_request() {
    let updates: u32 = set(UPDATES).unwrap_or(ENOUGH);
    let seed = set(SEED).unwrap_or_else(|| u64::from(std::process::id()) << 32 | clock());
    report::show(format_args!("kill: {updates} updates, {SEED}={seed}"));
    let random = Jitter::new(seed);
    let mut story = Story::begin();
    // How long each state lasts is learned from one update and one bad release that nobody disturbs.
    let mut tally = Tally::default();
    for kind in [Kind::Good, Kind::Bad] {
        let passed = story.update(kind, None);
        tally.learn(kind, &passed);
    }
    let begun = Instant::now();
    for number in 1..=updates {
        let (kind, when) = match number % TURN {
            2 | 4 => tally.least(),
            _ => {
                let bad = number % BAD_AFTER == 0;
                let kind = if bad { Kind::Bad } else { Kind::Good };
                (kind, When::After(part(tally.duration(kind), random.next())))
            }
        };
        let passed = story.update(kind, Some(when));
        tally.book(when, &passed);
    }
    let took = begun.elapsed();
    let booked = story.load.end();
    report::show(&tally);
    report::show(format_args!(
        "kill: {updates} updates, the operator killed in each, in {:.0} s: {}",
        took.as_secs_f32(),
        booked.line()
    ));
    booked.assert_clean();
    if updates >= ENOUGH {
        tally.assert_hit();
    }
}

/// A number that the environment sets.
fn set<N: std::str::FromStr<Err: fmt::Debug>>(name: &str) -> Option<N> {
    let value = std::env::var(name).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|error| panic!("{name}={value}: {error:?}")),
    )
}

fn clock() -> u64 {
    let since = std::time::UNIX_EPOCH.elapsed().expect("the clock is set");
    u64::from(since.subsec_nanos())
}

/// A random part of `whole`.
fn part(whole: Duration, random: u64) -> Duration {
    let permille = u32::try_from(random % 1000).expect("below a thousand");
    whole * permille / 1000
}

/// What an update brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// The other good version.
    Good,
    /// One that never becomes ready and is rolled back.
    Bad,
}

/// When the operator is killed.
#[derive(Debug, Clone, Copy)]
enum When {
    /// So long after the apply returned.
    After(Duration),
    /// As soon as the watch shows this state.
    In(&'static str),
}

/// The states that one update was seen in until it was over or the operator killed, and when each began.
type Passed = Vec<(&'static str, Instant)>;

/// One pipeline under load, updated again and again.
struct Story {
    load: Load,
    kubectl: Kubectl,
    stable: &'static str,
    /// Counts the updates.
    number: u32,
    installation: Installation,
}

impl Story {
    fn begin() -> Story {
        let installation = Installation::fresh("kill");
        let kubectl = installation.kubectl();
        kubectl.apply(&shop::manifest("1.0", REPLICAS));
        kubectl.wait(OBJECT, "condition=Ready", PATIENCE);
        let port = installation.http_port();
        Story {
            load: Load::begin(&installation::dist(), port, HOST, RATE, &["1.0"]),
            kubectl,
            stable: "1.0",
            number: 0,
            installation,
        }
    }

    /// One update to its end, with one kill in it if there is to be one.
    fn update(&mut self, kind: Kind, when: Option<When>) -> Passed {
        self.number += 1;
        let other = if self.stable == "1.0" { "2.0" } else { "1.0" };
        let (next, stable, end) = match kind {
            Kind::Good => (other, other, "Ready"),
            Kind::Bad => (BAD, self.stable, "Stalled"),
        };
        self.load.allow(&[self.stable, stable]);
        let states = States::watch(self.kubectl.kubeconfig(), NAME);
        // The same bad release once more would be no change.
        let round = format!(
            "- name: main\n      env: [{{name: ROUND, value: round-{}}}]",
            self.number
        );
        let manifest = shop::manifest(next, REPLICAS).replace("- name: main", &round);
        self.kubectl.apply(&manifest);
        let passed = follow(&states, when);
        if when.is_some() {
            self.installation.take().kill();
            self.installation.start();
        }
        self.kubectl
            .wait(OBJECT, &format!("condition={end}"), PATIENCE);
        self.stable = stable;
        self.load.allow(&[stable]);
        shop::until(
            "none too many run and none too few",
            || match docker_cli::running(NAME).len() {
                2 => Ok(()),
                others => Err(format!("{others} run after {passed:?}")),
            },
        );
        shop::assert_answers(self.installation.http_port(), stable);
        passed
    }
}

/// Follows an update that was just applied to its end, or to the moment of its kill.
fn follow(states: &States, when: Option<When>) -> Passed {
    let applied = Instant::now();
    let mut passed = vec![(UNSEEN, applied)];
    let end = match when {
        Some(When::After(time)) => applied + time,
        Some(When::In(_)) | None => applied + Duration::from_secs(u64::from(PATIENCE)),
    };
    let wanted = |state| matches!(when, Some(When::In(wanted)) if wanted == state);
    let mut state = UNSEEN;
    while !wanted(state) && state != OVER {
        let Some(shown) = states.next(end) else {
            let random = matches!(when, Some(When::After(_)));
            assert!(random, "the watch ended after {passed:?}");
            break;
        };
        state = shown.outcome.map_or(shown.state.as_str(), |_| OVER);
        passed.push((state, shown.at));
    }
    passed
}

/// What is known of one state.
#[derive(Debug, Default)]
struct Row {
    /// How long it lasted, each time that its end was seen.
    lasted: Vec<Duration>,
    /// The kinds of update that pass it.
    kinds: Vec<Kind>,
    /// Kills at a random moment that found this state.
    random: u32,
    /// Kills that were meant for this state and found it.
    aimed: u32,
    /// Kills that were meant for this state, which did not come.
    missed: u32,
}

impl Row {
    /// The median.
    fn lasts(&self) -> Duration {
        let mut lasted = self.lasted.clone();
        lasted.sort();
        lasted.get(lasted.len() / 2).copied().unwrap_or_default()
    }

    fn hits(&self) -> u32 {
        self.random + self.aimed
    }
}

/// The states at the kills.
#[derive(Debug, Default)]
struct Tally {
    /// By the order in which updates pass them.
    rows: Vec<(&'static str, Row)>,
    durations: BTreeMap<Kind, Duration>,
}

impl Tally {
    fn row(&mut self, state: &'static str) -> &mut Row {
        let found = self.rows.iter().position(|(known, _)| *known == state);
        let index = found.unwrap_or_else(|| {
            self.rows.push((state, Row::default()));
            self.rows.len() - 1
        });
        &mut self.rows[index].1
    }

    /// Learns from an undisturbed update which states there are, and how long it takes.
    fn learn(&mut self, kind: Kind, passed: &Passed) {
        let (first, last) = (passed[0].1, passed[passed.len() - 1].1);
        self.durations.insert(kind, last - first);
        for (state, _) in passed.iter().filter(|(state, _)| *state != OVER) {
            self.row(state).kinds.push(kind);
        }
        self.time(passed);
    }

    fn time(&mut self, passed: &Passed) {
        for pair in passed.windows(2) {
            let lasted = pair[1].1 - pair[0].1;
            self.row(pair[0].0).lasted.push(lasted);
        }
    }

    /// From apply returned to the end.
    fn duration(&self, kind: Kind) -> Duration {
        self.durations[&kind]
    }

    /// The state that was hit least, of several the longest, and an update that passes it.
    fn least(&self) -> (Kind, When) {
        let known = self.rows.iter().filter(|(_, row)| !row.kinds.is_empty());
        let least = known.min_by_key(|(_, row)| (row.hits() + row.missed, Reverse(row.lasts())));
        let (state, row) = least.expect("an update passes states");
        (row.kinds[0], When::In(state))
    }

    fn book(&mut self, when: When, passed: &Passed) {
        self.time(passed);
        let (found, _) = passed[passed.len() - 1];
        match when {
            When::In(wanted) if wanted == found => self.row(found).aimed += 1,
            When::In(wanted) => self.row(wanted).missed += 1,
            When::After(_) => self.row(found).random += 1,
        }
    }

    /// # Panics
    /// A state that lasts was hit too seldom.
    fn assert_hit(&self) {
        let lasting = self.rows.iter().filter(|(_, row)| row.lasts() > LASTS);
        let seldom: Vec<_> = lasting.filter(|(_, row)| row.hits() < HITS).collect();
        assert!(seldom.is_empty(), "hit less than {HITS} times: {seldom:#?}");
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "state at the kill  lasts ms  random  aimed  missed")?;
        for (state, row) in &self.rows {
            let (
                lasts,
                Row {
                    random,
                    aimed,
                    missed,
                    ..
                },
            ) = (row.lasts().as_millis(), row);
            writeln!(
                f,
                "{state:<17}  {lasts:>8}  {random:>6}  {aimed:>5}  {missed:>6}"
            )?;
        }
        Ok(())
    }
}
