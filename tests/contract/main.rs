//! The contract suite: the same operations against the fake Engine and a real one, and the same transcript from both.
//!
//! A fake that is nicer than the Engine makes every test on it worthless. Each case is written once and knows not what
//! it talks to; what must differ (ids, names of this run, times) is masked, everything else is compared. The numbers
//! of measured facts (`F1` and so on) stand at the cases that repeat them.
//!
//! The real Engine is the one that `DOCKER_HOST` names, else `unix:///var/run/docker.sock`, and the fake one is of the
//! same generation: `.ci/engine-29 cargo test --test contract` compares a fake Engine 29 with a real one. Without an
//! Engine every case fails. What a case makes carries a prefix of its own and is removed at its end, however it ends.

mod archives;
mod containers;
mod events;
mod execs;
mod images;
mod networks;
mod processes;
mod shown;
mod subject;
mod transcript;
mod volumes;

use subject::Subject;

/// Equal lines that are shown around those that differ.
const CONTEXT: usize = 4;

/// Runs one case on both and compares. `number` gives each its own addresses.
fn compare(name: &str, number: u8, case: impl AsyncFn(&mut Subject)) {
    let (real, generation) = subject::run(Subject::real(name, number), &case);
    let (fake, _) = subject::run(Subject::fake(name, number, generation), &case);
    if real == fake {
        return;
    }
    let shown = difference(
        &real.lines().collect::<Vec<_>>(),
        &fake.lines().collect::<Vec<_>>(),
    );
    panic!("the fake Engine differs from the real one in {name}:\n{shown}");
}

/// The lines that differ, with a few around them.
fn difference(real: &[&str], fake: &[&str]) -> String {
    // The longest common part of every pair of ends: what is equal is found again after a line more or less.
    let mut common = vec![vec![0_usize; fake.len() + 1]; real.len() + 1];
    for (r, f) in (0..real.len())
        .rev()
        .flat_map(|r| (0..fake.len()).rev().map(move |f| (r, f)))
    {
        common[r][f] = if real[r] == fake[f] {
            common[r + 1][f + 1] + 1
        } else {
            common[r + 1][f].max(common[r][f + 1])
        };
    }
    let (mut r, mut f, mut lines) = (0, 0, Vec::new());
    while r < real.len() || f < fake.len() {
        if r < real.len() && f < fake.len() && real[r] == fake[f] {
            lines.push((' ', real[r]));
            (r, f) = (r + 1, f + 1);
        } else if f == fake.len() || (r < real.len() && common[r + 1][f] >= common[r][f + 1]) {
            lines.push(('r', real[r]));
            r += 1;
        } else {
            lines.push(('f', fake[f]));
            f += 1;
        }
    }
    let near = |line: usize| {
        let around = &lines[line.saturating_sub(CONTEXT)..(line + CONTEXT + 1).min(lines.len())];
        around.iter().any(|(side, _)| *side != ' ')
    };
    let shown = lines.iter().enumerate().filter(|(line, _)| near(*line));
    let sides = |side| match side {
        'r' => "  real  ",
        'f' => "  fake  ",
        _ => "        ",
    };
    shown
        .map(|(_, (side, text))| format!("{}{text}\n", sides(*side)))
        .collect()
}

macro_rules! cases {
    ($($number:literal $module:ident::$name:ident)*) => {
        $(
            #[test]
            fn $name() {
                compare(stringify!($name), $number, $module::$name);
            }
        )*
    };
}

cases! {
    1 containers::a_container_that_does_nothing_yet
    2 containers::f2_sixteen_creates_one_name
    3 containers::f5_twice_is_no_failure
    4 containers::f1_f6_effects_outlive_their_client
    5 containers::f11_the_engine_validates_little
    6 containers::f12_labels_of_the_image_are_inherited
    7 containers::names_and_policies
    8 containers::lists_are_narrowed_by_labels
    9 processes::a_process_that_ends_by_itself
    10 processes::a_stop_that_runs_out_of_patience
    11 processes::f36_policy_no_does_not_stop_a_restart_under_way
    12 processes::f39_a_kill_is_a_stop_by_hand
    13 processes::restarts_go_on_until_a_stop
    14 processes::a_program_that_is_not_there
    15 processes::health_is_told
    16 processes::logs_by_line
    17 networks::f4_a_name_is_not_exclusive
    18 networks::f38_a_subnet_is_exclusive
    19 networks::f16_an_address_is_given_on_at_once
    20 networks::f17_a_fixed_address_is_kept
    21 networks::f32_a_fixed_address_in_use
    22 networks::f34_no_gateway
    23 networks::f35_the_network_is_gone
    24 networks::names_and_ids_of_networks
    25 networks::connected_later
    26 volumes::f3_a_volume_is_not_exclusive
    27 volumes::a_volume_in_use
    28 volumes::volumes_that_nobody_named
    29 archives::f33_what_is_read_only_refuses
    30 archives::f21_a_tmpfs_is_not_there
    31 archives::files_go_in_and_come_out
    32 images::f24_imported_images_have_no_digest
    33 images::tags_come_and_go
    34 execs::f7_a_killed_command_ends_cleanly
    35 execs::f8_f19_a_command_and_its_client
    36 execs::commands_and_their_ends
    37 events::what_happens_is_told
    38 events::f10_the_last_256
    39 images::a_tag_that_moves
}
