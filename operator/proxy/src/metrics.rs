//! The counters in Prometheus' text format.
//!
//! Owns names and labels. Must not know how things are counted. Invariant: labels are names of namespaces, pipelines,
//! stages, revisions and classes only, so their number is bounded by the table.

use std::fmt::{self, Write};

use routes::limit::LATENCY_BOUNDS_MICROS;
use routes::{Listener, Status, Traffic};

/// A whole status as metrics.
pub fn render(status: &Status) -> String {
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = write_all(&mut text, status);
    text
}

fn write_all(out: &mut String, status: &Status) -> fmt::Result {
    proxy(out, status)?;
    counters(out, status)?;
    head(
        out,
        "mooring_proxy_answers_total",
        "counter",
        "Answers of instances by class of their status code.",
    )?;
    each(status, |labels, traffic| {
        for (class, count) in (1..).zip(traffic.answers) {
            writeln!(
                out,
                "mooring_proxy_answers_total{{{labels},class=\"{class}xx\"}} {count}"
            )?;
        }
        Ok(())
    })?;
    head(
        out,
        "mooring_proxy_answer_seconds",
        "histogram",
        "Time to the head of an instance's answer.",
    )?;
    each(status, |labels, traffic| latency(out, labels, traffic))?;
    in_flight(out, status)
}

fn proxy(out: &mut String, status: &Status) -> fmt::Result {
    head(out, "mooring_proxy_info", "gauge", "Version of the proxy.")?;
    writeln!(
        out,
        "mooring_proxy_info{{version=\"{}\"}} 1",
        status.proxy_version
    )?;
    let bound = matches!(status.listener, Listener::Bound { .. });
    for (name, help, value) in [
        (
            "mooring_proxy_listener_bound",
            "Whether the HTTP port is bound.",
            u64::from(bound),
        ),
        (
            "mooring_proxy_table_version",
            "Version of the route table.",
            status.version,
        ),
        (
            "mooring_proxy_table_persisted",
            "Whether the route table is on disk.",
            u64::from(status.persisted),
        ),
        (
            "mooring_proxy_route_conflicts",
            "Claimed routes of another holder.",
            status.conflicts.len() as u64,
        ),
        (
            "mooring_proxy_leaving_instances",
            "Removed instances still in use.",
            status.leaving.len() as u64,
        ),
    ] {
        head(out, name, "gauge", help)?;
        writeln!(out, "{name} {value}")?;
    }
    Ok(())
}

/// A counter of one revision: name, help and where it is.
type Counter = (&'static str, &'static str, fn(&Traffic) -> u64);

const COUNTERS: [Counter; 5] = [
    (
        "mooring_proxy_requests_total",
        "Requests given to an instance.",
        |t| t.requests,
    ),
    (
        "mooring_proxy_failed_total",
        "Requests that ended with a 502 or 503 of the proxy.",
        |t| t.failed,
    ),
    (
        "mooring_proxy_timed_out_total",
        "Requests that ended with a 504 of the proxy.",
        |t| t.timed_out,
    ),
    (
        "mooring_proxy_cut_total",
        "Requests and streams cut at a drain limit.",
        |t| t.cut,
    ),
    (
        "mooring_proxy_retried_total",
        "Attempts repeated on another connection or instance.",
        |t| t.retried,
    ),
];

fn counters(out: &mut String, status: &Status) -> fmt::Result {
    for (name, help, value) in COUNTERS {
        head(out, name, "counter", help)?;
        each(status, |labels, traffic| {
            writeln!(out, "{name}{{{labels}}} {}", value(traffic))
        })?;
    }
    Ok(())
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}")
}

fn each(status: &Status, mut row: impl FnMut(&str, &Traffic) -> fmt::Result) -> fmt::Result {
    for (key, section) in &status.sections {
        let (namespace, pipeline, stage) = key.parts();
        for (revision, traffic) in &section.traffic {
            let labels = format!(
                "namespace=\"{namespace}\",pipeline=\"{pipeline}\",stage=\"{stage}\",revision=\"{}\"",
                escaped(revision)
            );
            row(&labels, traffic)?;
        }
    }
    Ok(())
}

fn latency(out: &mut String, labels: &str, traffic: &Traffic) -> fmt::Result {
    let mut total = 0;
    for (bound, count) in LATENCY_BOUNDS_MICROS.iter().zip(traffic.latency) {
        total += count;
        let seconds = Seconds(*bound);
        writeln!(
            out,
            "mooring_proxy_answer_seconds_bucket{{{labels},le=\"{seconds}\"}} {total}"
        )?;
    }
    total += traffic.latency[LATENCY_BOUNDS_MICROS.len()];
    writeln!(
        out,
        "mooring_proxy_answer_seconds_bucket{{{labels},le=\"+Inf\"}} {total}"
    )?;
    writeln!(
        out,
        "mooring_proxy_answer_seconds_sum{{{labels}}} {}",
        Seconds(traffic.latency_micros)
    )?;
    writeln!(
        out,
        "mooring_proxy_answer_seconds_count{{{labels}}} {total}"
    )
}

fn in_flight(out: &mut String, status: &Status) -> fmt::Result {
    head(
        out,
        "mooring_proxy_in_flight",
        "gauge",
        "Requests and streams in flight by section.",
    )?;
    for (key, section) in &status.sections {
        let (namespace, pipeline, stage) = key.parts();
        for (kind, count) in [
            (
                "request",
                section
                    .instances
                    .values()
                    .map(|instance| instance.requests)
                    .sum::<u64>(),
            ),
            (
                "stream",
                section
                    .instances
                    .values()
                    .map(|instance| instance.streams)
                    .sum(),
            ),
        ] {
            writeln!(
                out,
                "mooring_proxy_in_flight{{namespace=\"{namespace}\",pipeline=\"{pipeline}\",stage=\"{stage}\",kind=\"{kind}\"}} {count}"
            )?;
        }
    }
    Ok(())
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"")
}

/// Microseconds shown as seconds.
struct Seconds(u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}
