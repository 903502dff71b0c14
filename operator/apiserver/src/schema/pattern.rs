//! Regular expressions as Kubernetes means them: Go's dialect, matched in linear time.
//!
//! Owns the translation from Go's RE2 syntax to that of the `regex` crate, which is the same family but reads
//! character classes differently. Must not know schemas. Invariant: a pattern compiles to a bounded program, and
//! matching is linear in the text, whatever the author wrote.

use regex::{Regex, RegexBuilder};

/// How large a compiled pattern may be, in bytes. Go's own limit on repetition keeps patterns in this region; a larger
/// program costs memory for as long as its CRD lives.
const MAX_PROGRAM_BYTES: usize = 1 << 20;

/// How long a pattern may be, in bytes: longer ones are generated lists that belong in an `enum`.
const MAX_PATTERN_BYTES: usize = 16 * 1024;

/// Compiles a pattern in Go's dialect.
///
/// # Errors
/// Why the pattern is no valid regular expression or too large, in words.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > MAX_PATTERN_BYTES {
        return Err(format!(
            "pattern is longer than the limit of {MAX_PATTERN_BYTES} bytes"
        ));
    }
    RegexBuilder::new(&translate(pattern))
        .size_limit(MAX_PROGRAM_BYTES)
        .dfa_size_limit(MAX_PROGRAM_BYTES)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(limit) => {
                format!("compiled pattern exceeds the limit of {limit} bytes")
            }
            other => {
                let text = other.to_string();
                let reason = text.rsplit("error: ").next().unwrap_or(&text);
                format!("error parsing regexp: {reason}: `{pattern}`")
            }
        })
}

/// Rewrites what the two dialects read differently: `\d`, `\s` and `\w` are ASCII in Go, `[` is a plain character
/// inside a Go class, and Go has no set operators (`&&`, `--`, `~~`).
fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut chars = pattern.chars().peekable();
    let mut class = Class::Outside;
    while let Some(c) = chars.next() {
        match (c, class) {
            ('\\', Class::Outside) if chars.peek() == Some(&'Q') => {
                chars.next();
                quoted(&mut chars, &mut out);
            }
            ('\\', _) => {
                escape(chars.next(), class, &mut out);
                class = class.after_item();
            }
            ('[', Class::Outside) => {
                out.push('[');
                if chars.peek() == Some(&'^') {
                    out.push('^');
                    chars.next();
                }
                class = Class::Start;
            }
            ('[', _) => {
                class = Class::Inside;
                if chars.peek() == Some(&':') {
                    posix(&mut chars, &mut out);
                } else {
                    out.push_str("\\[");
                }
            }
            (']', Class::Start) => {
                out.push_str("\\]");
                class = Class::Inside;
            }
            (']', Class::Inside) => {
                out.push(']');
                class = Class::Outside;
            }
            ('&' | '~', Class::Start | Class::Inside) => {
                out.push('\\');
                out.push(c);
                class = Class::Inside;
            }
            ('-', Class::Inside) if chars.peek() == Some(&'-') => {
                // The second dash ends a range or is the last element; as an escape it cannot be read as an operator.
                chars.next();
                out.push_str("-\\-");
            }
            (c, Class::Start | Class::Inside) => {
                out.push(c);
                class = Class::Inside;
            }
            (c, Class::Outside) => out.push(c),
        }
    }
    out
}

#[derive(Clone, Copy, PartialEq)]
enum Class {
    Outside,
    /// Right after `[` or `[^`, where `]` is a plain character.
    Start,
    Inside,
}

impl Class {
    fn after_item(self) -> Self {
        match self {
            Class::Outside => Class::Outside,
            Class::Start | Class::Inside => Class::Inside,
        }
    }
}

fn escape(escaped: Option<char>, class: Class, out: &mut String) {
    let inside = class != Class::Outside;
    match (escaped, inside) {
        (Some('d'), true) => out.push_str("0-9"),
        (Some('d'), false) => out.push_str("[0-9]"),
        (Some('w'), true) => out.push_str("0-9A-Za-z_"),
        (Some('w'), false) => out.push_str("[0-9A-Za-z_]"),
        (Some('s'), true) => out.push_str("\\t\\n\\f\\r "),
        (Some('s'), false) => out.push_str("[\\t\\n\\f\\r ]"),
        (Some('D'), _) => out.push_str("[^0-9]"),
        (Some('W'), _) => out.push_str("[^0-9A-Za-z_]"),
        (Some('S'), _) => out.push_str("[^\\t\\n\\f\\r ]"),
        (Some('b'), false) => out.push_str("(?-u:\\b)"),
        (Some('C'), false) => out.push_str("(?s:.)"),
        (Some(c), _) if c.is_ascii_alphanumeric() || c.is_ascii_punctuation() => {
            out.push('\\');
            out.push(c);
        }
        (Some(c), _) => out.push(c),
        // A trailing backslash stays one and is refused by the parser.
        (None, _) => out.push('\\'),
    }
}

fn quoted(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, out: &mut String) {
    while let Some(c) = chars.next() {
        if c == '\\' && chars.peek() == Some(&'E') {
            chars.next();
            return;
        }
        out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
    }
}

/// Copies `[:name:]`, whose opening bracket has been read.
fn posix(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, out: &mut String) {
    out.push('[');
    for c in chars.by_ref() {
        out.push(c);
        if c == ']' {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_patterns_mean_what_they_mean_in_go() {
        let cases = [
            (r"^\d+$", "12", true),
            (r"^\d+$", "١٢", false),
            (r"^[\w.-]+$", "a_b.c-d", true),
            (r"^[^[]+$", "ab", true),
            (r"^[^[]+$", "a[b", false),
            (r"^[]a]+$", "]a", true),
            (r"^[a&&b]+$", "a&b", true),
            (r"^[+--]+$", "+,-", true),
            (r"^[[:alpha:]_]+$", "ab_", true),
            (r"^\Qa.b\E$", "a.b", true),
            (r"^\Qa.b\E$", "axb", false),
            (r"\bfoo\b", "a foo b", true),
            (r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "abc-1", true),
            (r"^(\S)$", "é", true),
        ];
        for (pattern, text, expected) in cases {
            let regex = compile(pattern).unwrap_or_else(|e| panic!("{pattern}: {e}"));
            assert_eq!(regex.is_match(text), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn patterns_without_bound_are_refused() {
        for pattern in [
            "(",
            "a{1001}{1001}",
            r"(?=x)",
            r"(a)\1",
            &"a".repeat(MAX_PATTERN_BYTES + 1),
        ] {
            assert!(compile(pattern).is_err(), "{pattern:.20}");
        }
    }
}
