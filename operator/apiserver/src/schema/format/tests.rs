//! Formats and durations in tables.

// Tables of cases are longer than functions may be.
#![allow(clippy::too_many_lines)]

use super::*;

#[test]
fn each_format_accepts_and_refuses() {
    let cases: &[(&str, &[&str], &[&str])] = &[
        ("byte", &["aGVsbG8="], &["a", "a b", "-_=="]),
        (
            "cidr",
            &["10.0.0.0/8", "fe80::/64"],
            &["10.0.0.0", "10.0.0.0/33", "x/8"],
        ),
        (
            "creditcard",
            &["4111 1111 1111 1111"],
            &["4111 1111 1111 1112"],
        ),
        ("date", &["2026-02-28"], &["2026-02-30", "2026-2-3", "x"]),
        (
            "date-time",
            &["2026-01-02T03:04:05Z", "2026-01-02T03:04:05.123+02:00"],
            &[
                "2026-01-02",
                "2026-01-02T25:00:00Z",
                "2026-01-02 03:04:05Z",
                "now",
            ],
        ),
        ("datetime", &["2026-01-02T03:04:05Z"], &["x"]),
        (
            "duration",
            &["1h30m", "22 ns", "0", "1.5h", "-3s", "2 days"],
            &["x", "3 parsecs", ""],
        ),
        (
            "email",
            &["a@b.example", "A B <a@b.example>"],
            &["a", "a@", "@b"],
        ),
        ("hexcolor", &["#fff", "00ff00"], &["#ff"]),
        (
            "hostname",
            &["a", "a-b.example.com"],
            &["a_b", "-a", "a..b", "a.1"],
        ),
        ("ipv4", &["10.1.2.3"], &["10.1.2", "::1"]),
        ("ipv6", &["::1"], &["10.1.2.3"]),
        ("isbn", &["0321751043", "978-0321751041"], &["0321751044"]),
        ("mac", &["01:23:45:67:89:ab"], &["01:23"]),
        ("password", &["", "anything"], &[]),
        ("rgbcolor", &["rgb(255,0,1)"], &["rgb(256,0,1)"]),
        ("k8s-short-name", &["a-b"], &["A", "a.b"]),
        ("k8s-long-name", &["a-b.c"], &["A"]),
        ("ssn", &["111-22-3333"], &["111"]),
        (
            "uri",
            &["http://x/y", "/path", "urn:a:b"],
            &["", "x", "a b"],
        ),
        (
            "uuid",
            &["c0ffee00-1111-4111-8111-111111111111"],
            &["c0ffee"],
        ),
        (
            "uuid4",
            &["c0ffee00-1111-4111-8111-111111111111"],
            &["c0ffee00-1111-3111-8111-111111111111"],
        ),
    ];
    for (name, good, bad) in cases {
        let format = Format::parse(name).unwrap_or_else(|| panic!("{name} is known"));
        for text in *good {
            assert!(format.accepts(text), "{name} accepts {text:?}");
        }
        for text in *bad {
            assert!(!format.accepts(text), "{name} refuses {text:?}");
        }
    }
    assert_eq!(Format::parse("int32"), None);
    assert_eq!(Format::parse("from-the-future"), None);
}

#[test]
fn durations_parse_as_in_go() {
    for (text, nanos) in [
        ("1h", Some(3_600_000_000_000)),
        ("1.5s", Some(1_500_000_000)),
        ("-1m", Some(-60_000_000_000)),
        ("+5s", Some(5_000_000_000)),
        ("1us", Some(1_000)),
        (".5s", Some(500_000_000)),
        ("1", None),
        ("", None),
        ("s", None),
        ("1d", None),
        ("9999999h", None),
    ] {
        assert_eq!(go_duration_nanos(text), nanos, "{text}");
    }
}
