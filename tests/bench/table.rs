//! The table that the benchmark prints: each figure beside what it is compared with, and their ratio.
//!
//! It measures nothing. Invariant: a row without a comparison names the aim that stands in for it.

use std::fmt::Write as _;

/// One line of the table.
#[derive(Debug, Clone)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// What it is compared with.
    pub against: String,
    /// Mooring's figure.
    pub ours: f64,
    /// The other figure.
    pub theirs: f64,
    /// The unit of both.
    pub unit: &'static str,
    /// What `design` asks for, in words.
    pub aim: &'static str,
    /// Whether it was met.
    pub met: bool,
}

impl Row {
    /// A row whose aim is a ratio that must not be exceeded.
    #[must_use]
    pub fn ratio(
        what: impl Into<String>,
        against: impl Into<String>,
        (ours, theirs): (f64, f64),
        unit: &'static str,
        (aim, limit): (&'static str, f64),
    ) -> Self {
        let met = ours <= limit * theirs;
        Self {
            what: what.into(),
            against: against.into(),
            ours,
            theirs,
            unit,
            aim,
            met,
        }
    }
}

/// The middle of the values; the mean of the two middle ones when their number is even. Zero of none.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// The whole table as text.
#[must_use]
pub fn render(rows: &[Row]) -> String {
    let cells: Vec<[String; 6]> = std::iter::once(
        ["what", "Mooring", "compared with", "", "ratio", "aim"].map(str::to_owned),
    )
    .chain(rows.iter().map(|row| {
        [
            row.what.clone(),
            figure(row.ours, row.unit),
            row.against.clone(),
            figure(row.theirs, row.unit),
            format!("{:.2}", row.ours / row.theirs),
            format!("{}{}", row.aim, if row.met { "" } else { "  NOT MET" }),
        ]
    }))
    .collect();
    let width = |column: usize| cells.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..6).map(width).collect();
    let mut text = String::new();
    for row in &cells {
        let [what, ours, against, theirs, ratio, aim] = row;
        let _ = writeln!(
            text,
            "{what:<0$}  {ours:>1$}  {against:<2$}  {theirs:>3$}  {ratio:>4$}  {aim}",
            widths[0], widths[1], widths[2], widths[3], widths[4]
        );
    }
    text
}

fn figure(value: f64, unit: &str) -> String {
    let digits = if value.abs() >= 100.0 { 0 } else { 2 };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_of_odd_and_the_mean_of_two_of_even() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
        assert!(median(&[]).abs() < f64::EPSILON);
    }

    #[test]
    fn an_aim_that_is_missed_is_said() {
        let row = Row::ratio("a", "b", (2.0, 1.0), "s", ("at most 1.15", 1.15));
        assert!(render(&[row]).contains("NOT MET"));
    }
}
