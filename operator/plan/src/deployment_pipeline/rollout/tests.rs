//! Walks every pair of state and fact class, and holds it against the table in the module's text.

use super::{Facts, Next, Outcome, Rest, RolloutState, next, reopens};

const STATES: [RolloutState; 10] = [
    RolloutState::Resolving,
    RolloutState::Preparing,
    RolloutState::Starting,
    RolloutState::Warming,
    RolloutState::Shifting,
    RolloutState::Draining,
    RolloutState::Baking,
    RolloutState::Finalizing,
    RolloutState::RollingBack,
    RolloutState::Paused,
];

/// The columns of the table, in order.
const COLUMNS: [&[Facts]; 13] = [
    &[Facts::Unknown, Facts::Waiting],
    &[Facts::Lost],
    &[Facts::Failed],
    &[Facts::Refused],
    &[Facts::Superseded],
    &[Facts::Aborted],
    &[Facts::Abandoned],
    &[Facts::Held],
    &[Facts::Resumed { begun: true }],
    &[Facts::Resumed { begun: false }],
    &[Facts::Met(Rest::Leave)],
    &[Facts::Met(Rest::Add)],
    &[Facts::Met(Rest::Nothing)],
];

fn words(next: Next) -> String {
    match next {
        Next::Stay => "stay".to_owned(),
        Next::Go(state) => state.as_str().to_owned(),
        Next::End(outcome) => format!("end {}", outcome.as_str()),
    }
}

/// The rows of the tables in the module's text.
fn rows() -> Vec<Vec<&'static str>> {
    include_str!("../rollout.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("//! | "))
        .map(|line| {
            line.trim_end_matches('|')
                .split('|')
                .map(str::trim)
                .collect()
        })
        .collect()
}

#[test]
fn every_outcome_and_a_retry_are_as_the_table_says() {
    let outcomes = [
        Outcome::Succeeded,
        Outcome::RolledBack,
        Outcome::Aborted,
        Outcome::Superseded,
        Outcome::Failed,
    ];
    for outcome in outcomes {
        let word = if reopens(outcome) {
            "Resolving"
        } else {
            "stays"
        };
        let row = rows()
            .into_iter()
            .find(|row| row.len() == 2 && row[0] == outcome.as_str());
        assert_eq!(row.map(|row| row[1]), Some(word), "{outcome:?} and retryAt");
    }
}

#[test]
fn every_pair_is_as_the_table_says() {
    let rows = rows();
    for state in STATES {
        let row = rows
            .iter()
            .find(|row| row[0] == state.as_str())
            .unwrap_or_else(|| panic!("{state:?} is not in the table"));
        assert_eq!(row.len(), COLUMNS.len() + 1, "{state:?}");
        for (column, classes) in COLUMNS.iter().enumerate() {
            for facts in *classes {
                assert_eq!(
                    words(next(state, *facts)),
                    row[column + 1],
                    "{state:?} and {facts:?}"
                );
            }
        }
    }
}

#[test]
fn from_every_state_an_end_can_be_reached_and_nothing_moves_on_the_unknown() {
    for state in STATES {
        assert_eq!(next(state, Facts::Unknown), Next::Stay);
        let mut now = state;
        let mut steps = 0;
        let outcome = loop {
            match next(now, Facts::Met(Rest::Nothing)) {
                Next::Go(state) => now = state,
                Next::End(outcome) => break outcome,
                Next::Stay => panic!("{now:?} stays for ever"),
            }
            steps += 1;
            assert!(steps <= STATES.len());
        };
        assert!(matches!(outcome, Outcome::Succeeded | Outcome::RolledBack));
    }
}
