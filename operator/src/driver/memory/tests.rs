//! What is remembered of steps, and for how long.

use plan::Step;

use super::*;

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().expect("a time")
}

fn plan_with(tags: &[&str]) -> Plan<()> {
    let mut plan = Plan::new(());
    for tag in tags {
        plan.step(
            "h1",
            Step::UntagImage {
                tag: (*tag).to_owned(),
            },
        );
    }
    plan
}

fn fail(memory: &mut Memory, tag: &str, error: StepError) {
    let step = format!("untag image {tag}");
    memory.remember("h1".to_owned(), step, Err(error), now(), || u64::MAX);
}

#[test]
fn a_failed_step_is_held_back_and_waits_longer_each_time() {
    let mut memory = Memory::default();
    fail(&mut memory, "a", StepError::transient("no"));
    let first = memory.failures()[0].clone();
    assert_eq!((first.attempts, first.class), (1, FailureClass::Transient));
    fail(&mut memory, "a", StepError::transient("no"));
    let second = memory.failures()[0].clone();
    assert_eq!((memory.failures().len(), second.attempts), (1, 2));
    assert!(second.retry_at > first.retry_at);
    let mut plan = plan_with(&["b", "a", "c"]);
    memory.forget_all_but(&plan);
    plan.hold_back(memory.failures(), now());
    assert_eq!(plan.to_string(), "untag image b on h1\n");
    assert_eq!(plan.wake, Some(second.retry_at));
}

#[test]
fn success_and_a_plan_without_the_step_forget_it() {
    let mut memory = Memory::default();
    fail(&mut memory, "a", StepError::refused("no"));
    memory.remember(
        "h1".to_owned(),
        "untag image a".to_owned(),
        Ok(()),
        now(),
        || 0,
    );
    assert!(memory.failures().is_empty());
    fail(&mut memory, "a", StepError::refused("no"));
    memory.forget_all_but(&plan_with(&["b"]));
    assert!(memory.failures().is_empty());
}

#[test]
fn another_spec_is_a_new_chance() {
    let mut memory = Memory::default();
    memory.belongs_to(Some("u1"), Some(1));
    fail(&mut memory, "a", StepError::transient("no"));
    memory.belongs_to(Some("u1"), Some(1));
    assert_eq!(memory.failures().len(), 1);
    memory.belongs_to(Some("u1"), Some(2));
    assert!(memory.failures().is_empty());
}

#[test]
fn a_plan_that_never_converges_is_slowed_down() {
    let mut memory = Memory::default();
    for _ in 0..MAX_STREAK {
        assert_eq!(memory.at_once(), Duration::ZERO);
    }
    assert_eq!(memory.at_once(), REST);
    memory.rested();
    assert_eq!(memory.at_once(), Duration::ZERO);
}
