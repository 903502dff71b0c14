//! The `format` keyword: which names Kubernetes knows and what each accepts.
//!
//! Owns the table of formats of CRD schemas. Must not know schemas or objects. Invariant: a name that Kubernetes does
//! not know is ignored, as Kubernetes ignores it, so that a CRD written for a newer server still works.

use std::net::Ipv6Addr;
use std::str::FromStr;
use std::sync::LazyLock;

use regex::Regex;

/// A string format that a CRD schema may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `bsonobjectid`
    BsonObjectId,
    /// `byte`: base64.
    Byte,
    /// `cidr`
    Cidr,
    /// `creditcard`
    CreditCard,
    /// `date`: RFC 3339 full-date.
    Date,
    /// `date-time`: RFC 3339.
    DateTime,
    /// `duration`: what Go parses, or a number and a unit in words.
    Duration,
    /// `email`
    Email,
    /// `hexcolor`
    HexColor,
    /// `hostname`
    Hostname,
    /// `ipv4`
    Ipv4,
    /// `ipv6`
    Ipv6,
    /// `isbn`
    Isbn,
    /// `isbn10`
    Isbn10,
    /// `isbn13`
    Isbn13,
    /// `mac`
    Mac,
    /// `password`: any string.
    Password,
    /// `rgbcolor`
    RgbColor,
    /// `k8s-short-name`: a DNS label.
    ShortName,
    /// `k8s-long-name`: a DNS subdomain.
    LongName,
    /// `ssn`
    Ssn,
    /// `uri`: absolute, or an absolute path.
    Uri,
    /// `uuid`
    Uuid,
    /// `uuid3`
    Uuid3,
    /// `uuid4`
    Uuid4,
    /// `uuid5`
    Uuid5,
}

impl Format {
    /// The string format called `name`; `None` for number formats and unknown names.
    pub fn parse(name: &str) -> Option<Self> {
        // Kubernetes compares format names without their dashes.
        Some(match name.replace('-', "").as_str() {
            "bsonobjectid" => Self::BsonObjectId,
            "byte" => Self::Byte,
            "cidr" => Self::Cidr,
            "creditcard" => Self::CreditCard,
            "date" => Self::Date,
            "datetime" => Self::DateTime,
            "duration" => Self::Duration,
            "email" => Self::Email,
            "hexcolor" => Self::HexColor,
            "hostname" => Self::Hostname,
            "ipv4" => Self::Ipv4,
            "ipv6" => Self::Ipv6,
            "isbn" => Self::Isbn,
            "isbn10" => Self::Isbn10,
            "isbn13" => Self::Isbn13,
            "mac" => Self::Mac,
            "password" => Self::Password,
            "rgbcolor" => Self::RgbColor,
            "k8sshortname" => Self::ShortName,
            "k8slongname" => Self::LongName,
            "ssn" => Self::Ssn,
            "uri" => Self::Uri,
            "uuid" => Self::Uuid,
            "uuid3" => Self::Uuid3,
            "uuid4" => Self::Uuid4,
            "uuid5" => Self::Uuid5,
            _ => return None,
        })
    }

    /// Whether `text` is of this format.
    pub fn accepts(self, text: &str) -> bool {
        match self {
            Self::BsonObjectId => BSON_OBJECT_ID.is_match(text),
            Self::Byte => BASE64.is_match(text),
            Self::Cidr => is_cidr(text),
            Self::CreditCard => is_credit_card(text),
            Self::Date => is_date(text),
            Self::DateTime => is_date_time(text),
            Self::Duration => is_duration(text),
            Self::Email => is_email(text),
            Self::HexColor => HEX_COLOR.is_match(text),
            Self::Hostname => is_hostname(text),
            Self::Ipv4 => is_ipv4(text),
            Self::Ipv6 => Ipv6Addr::from_str(text).is_ok(),
            Self::Isbn => is_isbn10(text) || is_isbn13(text),
            Self::Isbn10 => is_isbn10(text),
            Self::Isbn13 => is_isbn13(text),
            Self::Mac => MAC.is_match(text),
            Self::Password => true,
            Self::RgbColor => RGB_COLOR.is_match(text),
            Self::ShortName => text.len() <= 63 && SHORT_NAME.is_match(text),
            Self::LongName => text.len() <= 253 && LONG_NAME.is_match(text),
            Self::Ssn => SSN.is_match(text),
            Self::Uri => is_request_uri(text),
            Self::Uuid => UUID.is_match(text),
            Self::Uuid3 => UUID3.is_match(text),
            Self::Uuid4 => UUID4.is_match(text),
            Self::Uuid5 => UUID5.is_match(text),
        }
    }
}

macro_rules! patterns {
    ($($name:ident = $pattern:expr;)*) => {
        $(static $name: LazyLock<Regex> =
            LazyLock::new(|| Regex::new($pattern).expect("a constant pattern is valid"));)*
    };
}

patterns! {
    BSON_OBJECT_ID = "^[0-9a-fA-F]{24}$";
    BASE64 = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})$";
    HEX_COLOR = "^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$";
    RGB_COLOR = "^rgb\\(\\s*(0|[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5])\\s*,\\s*(0|[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5])\\s*,\\s*(0|[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5])\\s*\\)$";
    SSN = "^[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}$";
    MAC = "^(([0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5})|([0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){7})|([0-9a-fA-F]{4}(\\.[0-9a-fA-F]{4}){2})|([0-9a-fA-F]{4}(\\.[0-9a-fA-F]{4}){3}))$";
    SHORT_NAME = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
    LONG_NAME = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
    UUID = "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$";
    UUID3 = "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?3[0-9a-f]{3}-?[0-9a-f]{4}-?[0-9a-f]{12}$";
    UUID4 = "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?4[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$";
    UUID5 = "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?5[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$";
    TIME = "^([0-9]{2}):([0-9]{2}):([0-9]{2})(.[0-9]+)?(z|([+-][0-9]{2}:[0-9]{2}))$";
    WORDY_DURATION = "([0-9]+)\\s*([A-Za-zµ]+)";
    CARD = "^(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35[0-9]{3})[0-9]{11})$";
    EMAIL = "^[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+@[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+$";
}

/// Kubernetes reads `01.2.3.4`, which newer parsers take for octal and refuse, and `::ffff:1.2.3.4`.
fn is_ipv4(text: &str) -> bool {
    is_dotted(text) || (text.contains('.') && Ipv6Addr::from_str(text).is_ok())
}

fn is_dotted(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    parts.len() == 4
        && parts.iter().all(|part| {
            (1..=3).contains(&part.len())
                && part.bytes().all(|byte| byte.is_ascii_digit())
                && part.parse::<u16>().is_ok_and(|part| part <= 255)
        })
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else {
        return false;
    };
    if bits.is_empty() || bits.len() > 3 || !bits.bytes().all(|b| b.is_ascii_digit()) {
        return false;
    }
    let Ok(bits) = bits.parse::<u8>() else {
        return false;
    };
    (is_dotted(address) && bits <= 32) || (Ipv6Addr::from_str(address).is_ok() && bits <= 128)
}

fn is_credit_card(text: &str) -> bool {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    if !CARD.is_match(&digits) {
        return false;
    }
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(place, byte)| {
            let digit = u32::from(byte - b'0');
            if place % 2 == 0 {
                digit
            } else if digit > 4 {
                digit * 2 - 9
            } else {
                digit * 2
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 10
        && bytes.iter().enumerate().all(|(place, byte)| match place {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        })
        && jiff::civil::Date::from_str(text).is_ok()
}

fn is_date_time(text: &str) -> bool {
    if text.len() < 4 {
        return false;
    }
    let lower = text.to_lowercase();
    let Some((date, time)) = lower.split_once('t') else {
        return false;
    };
    if !is_date(date) {
        return false;
    }
    let Some(parts) = TIME.captures(time) else {
        return false;
    };
    let number = |group: usize| parts.get(group).and_then(|m| m.as_str().parse::<u8>().ok());
    matches!(
        (number(1), number(2), number(3)),
        (Some(0..=23), Some(0..=59), Some(0..=59))
    )
}

fn is_duration(text: &str) -> bool {
    if go_duration_nanos(text).is_some() {
        return true;
    }
    // Each group is one unit; a word that begins with the last of a group is that unit too ("seconds").
    const UNITS: &[&[&str]] = &[
        &["ns", "nano"],
        &["us", "µs", "micro"],
        &["ms", "milli"],
        &["s", "sec"],
        &["m", "min"],
        &["h", "hr", "hour"],
        &["d", "day"],
        &["w", "wk", "week"],
    ];
    WORDY_DURATION.captures_iter(text).any(|parts| {
        let unit = parts.get(2).map_or("", |unit| unit.as_str()).to_lowercase();
        UNITS.iter().any(|names| {
            names.contains(&unit.as_str())
                || names.last().is_some_and(|name| unit.starts_with(name))
        })
    })
}

/// Parses a duration as Go's `time.ParseDuration` does, in nanoseconds; `None` when it is none or out of range.
pub fn go_duration_nanos(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: f64 = 0.0;
    let mut exact: i128 = 0;
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let (unit, scale) = [
            ("ns", 1i128),
            ("us", 1_000),
            ("µs", 1_000),
            ("μs", 1_000),
            ("ms", 1_000_000),
            ("s", 1_000_000_000),
            ("m", 60_000_000_000),
            ("h", 3_600_000_000_000),
        ]
        .into_iter()
        .find(|(unit, _)| after.starts_with(unit))?;
        if !number.bytes().any(|b| b.is_ascii_digit()) || number.matches('.').count() > 1 {
            return None;
        }
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if !whole.is_empty() {
            exact = exact.checked_add(whole.parse::<i128>().ok()?.checked_mul(scale)?)?;
        }
        if !fraction.is_empty() {
            total += format!("0.{fraction}").parse::<f64>().ok()? * scale as f64;
        }
        rest = &after[unit.len()..];
    }
    let nanos = exact.checked_add(total.trunc() as i128)?;
    i64::try_from(if negative { -nanos } else { nanos }).ok()
}

fn is_email(text: &str) -> bool {
    // Kubernetes also accepts `Name <address>`.
    let address = match text.rsplit_once('<') {
        Some((_, rest)) => rest.strip_suffix('>').unwrap_or(""),
        None => text,
    };
    EMAIL.is_match(address)
        && !address.starts_with('.')
        && !address.contains("..")
        && !address.contains(".@")
        && !address.contains("@.")
}

fn is_hostname(text: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphanumeric() || (!c.is_ascii() && c.is_alphabetic());
    if text.is_empty() || text.len() > 255 {
        return false;
    }
    let labels: Vec<&str> = text.split('.').collect();
    let well_formed = labels.iter().all(|label| {
        !label.is_empty()
            && label.len() <= 63
            && label.starts_with(letter)
            && label.ends_with(letter)
            && label.chars().all(|c| letter(c) || c == '-')
    });
    // The last of several labels is a top-level domain: letters only, at least two.
    well_formed
        && (labels.len() == 1
            || labels.last().is_some_and(|tld| {
                tld.chars().count() >= 2 && tld.chars().all(char::is_alphabetic)
            }))
}

fn is_isbn10(text: &str) -> bool {
    let compact: Vec<char> = text.chars().filter(|c| *c != '-' && *c != ' ').collect();
    if compact.len() != 10 {
        return false;
    }
    let mut sum = 0;
    for (place, c) in compact.iter().enumerate() {
        let digit = match c {
            'X' if place == 9 => 10,
            c => match c.to_digit(10) {
                Some(digit) => digit,
                None => return false,
            },
        };
        sum += digit * (place as u32 + 1);
    }
    sum.is_multiple_of(11)
}

fn is_isbn13(text: &str) -> bool {
    let compact: Option<Vec<u32>> = text
        .chars()
        .filter(|c| *c != '-' && *c != ' ')
        .map(|c| c.to_digit(10))
        .collect();
    let Some(digits) = compact else {
        return false;
    };
    let prefix = matches!(digits.get(..3), Some([9, 7, 8 | 9]));
    digits.len() == 13
        && prefix
        && digits
            .iter()
            .enumerate()
            .map(|(place, digit)| if place % 2 == 0 { *digit } else { digit * 3 })
            .sum::<u32>()
            .is_multiple_of(10)
}

fn is_request_uri(text: &str) -> bool {
    if text.is_empty() || text.chars().any(|c| c.is_control() || c == ' ') {
        return false;
    }
    if text.starts_with('/') {
        return true;
    }
    let Some((scheme, rest)) = text.split_once(':') else {
        return false;
    };
    !rest.is_empty()
        && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

#[cfg(test)]
mod tests;
