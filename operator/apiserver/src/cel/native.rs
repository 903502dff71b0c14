//! CEL's own functions.
//!
//! Owns conversions, string and list functions, times and optionals. Must not know the object or the budget beyond what
//! it is given. Invariant: a function never panics, and its result is no larger than its arguments allow.

use std::cmp::Ordering;
use std::rc::Rc;

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

use crate::schema::{compile_pattern, go_duration_nanos, go_float};

use super::value::Val;

/// What CEL says when a function does not take such values.
pub const NO_OVERLOAD: &str = "no such overload";

/// Calls a function.
///
/// # Errors
/// Why it refused its arguments, in CEL's words.
pub fn call<'v>(name: &str, arguments: &[Val<'v>]) -> Result<Val<'v>, String> {
    match (name, arguments) {
        ("size", [value]) => value
            .size()
            .map(|size| Val::Int(size as i64))
            .ok_or_else(no_overload),
        ("contains", [text, part]) => {
            strings(text, part).map(|(text, part)| Val::Bool(text.contains(part)))
        }
        ("startsWith", [text, part]) => {
            strings(text, part).map(|(text, part)| Val::Bool(text.starts_with(part)))
        }
        ("endsWith", [text, part]) => {
            strings(text, part).map(|(text, part)| Val::Bool(text.ends_with(part)))
        }
        ("matches", [text, pattern]) => {
            let (text, pattern) = strings(text, pattern)?;
            Ok(Val::Bool(compile_pattern(pattern)?.is_match(text)))
        }
        ("find", [text, pattern]) => {
            let (text, pattern) = strings(text, pattern)?;
            let found = compile_pattern(pattern)?
                .find(text)
                .map(|found| found.as_str().to_owned());
            Ok(Val::made(found.unwrap_or_default()))
        }
        ("findAll", [text, pattern, rest @ ..]) => find_all(text, pattern, rest),
        ("lowerAscii", [text]) => string(text).map(|text| Val::made(text.to_ascii_lowercase())),
        ("upperAscii", [text]) => string(text).map(|text| Val::made(text.to_ascii_uppercase())),
        ("trim", [text]) => string(text).map(|text| Val::made(text.trim())),
        ("join", [list, rest @ ..]) => join(list, rest),
        ("charAt", [text, Val::Int(place)]) => char_at(string(text)?, *place),
        ("substring", [text, Val::Int(start)]) => substring(string(text)?, *start, None),
        ("substring", [text, Val::Int(start), Val::Int(end)]) => {
            substring(string(text)?, *start, Some(*end))
        }
        ("type", [value]) => Ok(Val::Type(value.type_name())),
        ("dyn", [value]) => Ok(value.clone()),
        (
            "bool" | "int" | "uint" | "double" | "string" | "bytes" | "duration" | "timestamp",
            [value],
        ) => convert(name, value),
        _ => collection(name, arguments),
    }
}

/// Functions of optionals, lists and times.
fn collection<'v>(name: &str, arguments: &[Val<'v>]) -> Result<Val<'v>, String> {
    match (name, arguments) {
        ("optional.of", [value]) => Ok(some(value.clone())),
        ("optional.ofNonZeroValue", [value]) => Ok(if is_zero(value) {
            Val::Optional(None)
        } else {
            some(value.clone())
        }),
        ("optional.none", []) => Ok(Val::Optional(None)),
        ("hasValue", [Val::Optional(value)]) => Ok(Val::Bool(value.is_some())),
        ("value", [Val::Optional(Some(value))]) => Ok((**value).clone()),
        ("value", [Val::Optional(None)]) => Err("optional.none() dereference".to_owned()),
        ("orValue", [Val::Optional(value), other]) => Ok(value
            .as_ref()
            .map_or_else(|| other.clone(), |value| (**value).clone())),
        ("or", [value @ Val::Optional(Some(_)), _]) => Ok(value.clone()),
        ("or", [Val::Optional(None), other @ Val::Optional(_)]) => Ok(other.clone()),
        ("sets.contains", [a, b]) => Ok(Val::Bool(is_within(b, a)?)),
        ("sets.equivalent", [a, b]) => Ok(Val::Bool(is_within(a, b)? && is_within(b, a)?)),
        ("sets.intersects", [a, b]) => {
            let b: Vec<Val<'v>> = elements(b)?;
            Ok(Val::Bool(
                elements(a)?.iter().any(|a| b.iter().any(|b| a.equals(b))),
            ))
        }
        ("isSorted" | "min" | "max" | "sum", [list]) => aggregate(name, &elements(list)?),
        ("indexOf", [list, value]) => {
            position(elements(list)?.iter().position(|item| item.equals(value)))
        }
        ("lastIndexOf", [list, value]) => {
            position(elements(list)?.iter().rposition(|item| item.equals(value)))
        }
        (name, [Val::Duration(nanos)]) => duration_part(name, *nanos),
        (name, [Val::Timestamp(time)]) => time_part(name, *time, &TimeZone::UTC),
        (name, [Val::Timestamp(time), zone]) => time_part(name, *time, &time_zone(string(zone)?)?),
        _ => Err(no_overload()),
    }
}

fn no_overload() -> String {
    NO_OVERLOAD.to_owned()
}

fn string<'a>(value: &'a Val<'_>) -> Result<&'a str, String> {
    value.text().ok_or_else(no_overload)
}

fn strings<'a>(a: &'a Val<'_>, b: &'a Val<'_>) -> Result<(&'a str, &'a str), String> {
    Ok((string(a)?, string(b)?))
}

fn elements<'v>(value: &Val<'v>) -> Result<Vec<Val<'v>>, String> {
    Ok(value.elements().ok_or_else(no_overload)?.collect())
}

fn some(value: Val<'_>) -> Val<'_> {
    Val::Optional(Some(Rc::new(value)))
}

fn position<'v>(index: Option<usize>) -> Result<Val<'v>, String> {
    Ok(Val::Int(index.map_or(-1, |index| index as i64)))
}

fn is_within<'v>(part: &Val<'v>, whole: &Val<'v>) -> Result<bool, String> {
    let whole = elements(whole)?;
    Ok(elements(part)?
        .iter()
        .all(|a| whole.iter().any(|b| a.equals(b))))
}

fn find_all<'v>(text: &Val<'v>, pattern: &Val<'v>, rest: &[Val<'v>]) -> Result<Val<'v>, String> {
    let (text, pattern) = strings(text, pattern)?;
    let limit = match rest {
        [] => usize::MAX,
        [Val::Int(limit)] => usize::try_from(*limit).unwrap_or(usize::MAX),
        _ => return Err(no_overload()),
    };
    let found = compile_pattern(pattern)?
        .find_iter(text)
        .take(limit)
        .map(|found| Val::made(found.as_str()))
        .collect();
    Ok(Val::List(Rc::new(found)))
}

fn char_at<'v>(text: &str, place: i64) -> Result<Val<'v>, String> {
    let length = text.chars().count() as i64;
    if !(0..=length).contains(&place) {
        return Err(format!("index out of range: {place}"));
    }
    let found = text
        .chars()
        .nth(usize::try_from(place).unwrap_or(usize::MAX));
    Ok(Val::made(found.map(String::from).unwrap_or_default()))
}

fn substring<'v>(text: &str, start: i64, end: Option<i64>) -> Result<Val<'v>, String> {
    let length = text.chars().count() as i64;
    let end = end.unwrap_or(length);
    for place in [start, end] {
        if !(0..=length).contains(&place) {
            return Err(format!("index out of range: {place}"));
        }
    }
    if start > end {
        return Err(format!(
            "invalid substring range. start: {start}, end: {end}"
        ));
    }
    let (start, end) = (start as usize, end as usize);
    let part: String = text.chars().skip(start).take(end - start).collect();
    Ok(Val::made(part))
}

fn join<'v>(list: &Val<'v>, rest: &[Val<'v>]) -> Result<Val<'v>, String> {
    let separator = match rest {
        [] => "",
        [separator] => string(separator)?,
        _ => return Err(no_overload()),
    };
    let items = elements(list)?;
    let texts: Result<Vec<&str>, String> = items.iter().map(string).collect();
    Ok(Val::made(texts?.join(separator)))
}

fn aggregate<'v>(name: &str, items: &[Val<'v>]) -> Result<Val<'v>, String> {
    match name {
        "isSorted" => {
            for pair in items.windows(2) {
                if pair[0].order(&pair[1]).ok_or_else(no_overload)? == Ordering::Greater {
                    return Ok(Val::Bool(false));
                }
            }
            Ok(Val::Bool(true))
        }
        "sum" => {
            let mut items = items.iter().cloned();
            let first = items.next().unwrap_or(Val::Int(0));
            items.try_fold(first, |sum, item| add(&sum, &item))
        }
        name => {
            let wanted = if name == "min" {
                Ordering::Less
            } else {
                Ordering::Greater
            };
            let mut items = items.iter();
            let mut best = items
                .next()
                .ok_or_else(|| format!("{name} called on empty list"))?;
            for item in items {
                if item.order(best).ok_or_else(no_overload)? == wanted {
                    best = item;
                }
            }
            Ok(best.clone())
        }
    }
}

/// `a + b` of scalars.
///
/// # Errors
/// When there is no sum of such values, or it is out of range.
pub fn add<'v>(a: &Val<'v>, b: &Val<'v>) -> Result<Val<'v>, String> {
    let overflow = |kind: &str| format!("{kind} overflow");
    Ok(match (a, b) {
        (Val::Int(a), Val::Int(b)) => {
            Val::Int(a.checked_add(*b).ok_or_else(|| overflow("integer"))?)
        }
        (Val::Uint(a), Val::Uint(b)) => Val::Uint(
            a.checked_add(*b)
                .ok_or_else(|| overflow("unsigned integer"))?,
        ),
        (Val::Double(a), Val::Double(b)) => Val::Double(a + b),
        (Val::Duration(a), Val::Duration(b)) => {
            Val::Duration(a.checked_add(*b).ok_or_else(|| overflow("duration"))?)
        }
        (Val::Timestamp(time), Val::Duration(nanos))
        | (Val::Duration(nanos), Val::Timestamp(time)) => {
            let sum = time.as_nanosecond() + i128::from(*nanos);
            Val::Timestamp(Timestamp::from_nanosecond(sum).map_err(|_| overflow("timestamp"))?)
        }
        (Val::Bytes(a), Val::Bytes(b)) => Val::Bytes([&a[..], &b[..]].concat().into()),
        _ => match (a.text(), b.text()) {
            (Some(a), Some(b)) => Val::made([a, b].concat()),
            _ => return Err(no_overload()),
        },
    })
}

fn is_zero(value: &Val<'_>) -> bool {
    match value {
        Val::Null
        | Val::Bool(false)
        | Val::Int(0)
        | Val::Uint(0)
        | Val::Duration(0)
        | Val::Optional(None) => true,
        Val::Double(float) => *float == 0.0,
        Val::Timestamp(time) => time.as_nanosecond() == 0,
        other => other.size() == Some(0),
    }
}

fn convert<'v>(name: &str, value: &Val<'v>) -> Result<Val<'v>, String> {
    let range = |kind: &str| format!("{kind} range error");
    Ok(match (name, value) {
        ("bool", Val::Bool(flag)) => Val::Bool(*flag),
        ("bool", text) => match string(text)? {
            "true" | "TRUE" | "True" | "t" | "1" => Val::Bool(true),
            "false" | "FALSE" | "False" | "f" | "0" => Val::Bool(false),
            _ => return Err("type conversion error from 'string' to 'bool'".to_owned()),
        },
        ("int", Val::Int(integer)) => Val::Int(*integer),
        ("int", Val::Uint(integer)) => Val::Int(i64::try_from(*integer).map_err(|_| range("int"))?),
        ("int", Val::Double(float)) if float.abs() < 9.2e18 => Val::Int(*float as i64),
        ("int", Val::Double(_)) => return Err(range("int")),
        ("int", Val::Timestamp(time)) => Val::Int(time.as_second()),
        ("int", Val::Duration(nanos)) => Val::Int(*nanos),
        ("int", text) => Val::Int(parsed(string(text)?, "int")?),
        ("uint", Val::Uint(integer)) => Val::Uint(*integer),
        ("uint", Val::Int(integer)) => {
            Val::Uint(u64::try_from(*integer).map_err(|_| range("uint"))?)
        }
        ("uint", Val::Double(float)) if *float >= 0.0 && *float < 1.8e19 => {
            Val::Uint(*float as u64)
        }
        ("uint", Val::Double(_)) => return Err(range("uint")),
        ("uint", text) => Val::Uint(parsed(string(text)?, "uint")?),
        ("double", Val::Double(float)) => Val::Double(*float),
        ("double", Val::Int(integer)) => Val::Double(*integer as f64),
        ("double", Val::Uint(integer)) => Val::Double(*integer as f64),
        ("double", text) => Val::Double(parsed(string(text)?, "double")?),
        ("string", value) => Val::made(text_of(value).ok_or_else(no_overload)?),
        ("bytes", Val::Bytes(bytes)) => Val::Bytes(Rc::clone(bytes)),
        ("bytes", text) => Val::Bytes(string(text)?.as_bytes().into()),
        ("duration", Val::Duration(nanos)) => Val::Duration(*nanos),
        ("duration", text) => Val::Duration(duration(string(text)?)?),
        ("timestamp", Val::Timestamp(time)) => Val::Timestamp(*time),
        ("timestamp", Val::Int(second)) => {
            Val::Timestamp(Timestamp::from_second(*second).map_err(|_| range("timestamp"))?)
        }
        ("timestamp", text) => Val::Timestamp(timestamp(string(text)?)?),
        _ => return Err(no_overload()),
    })
}

fn parsed<T: std::str::FromStr>(text: &str, kind: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| format!("type conversion error from 'string' to '{kind}'"))
}

/// A duration as CEL writes it.
///
/// # Errors
/// When the text is none.
pub fn duration(text: &str) -> Result<i64, String> {
    go_duration_nanos(text).ok_or_else(|| {
        "type conversion error from 'string' to 'google.protobuf.Duration'".to_owned()
    })
}

/// A time as CEL writes it.
///
/// # Errors
/// When the text is none.
pub fn timestamp(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| {
        "type conversion error from 'string' to 'google.protobuf.Timestamp'".to_owned()
    })
}

/// A value as `string(x)` shows it; `None` for what has no text.
pub fn text_of(value: &Val<'_>) -> Option<String> {
    Some(match value {
        Val::Str(_) | Val::Made(_) => value.text()?.to_owned(),
        Val::Bool(flag) => flag.to_string(),
        Val::Int(integer) => integer.to_string(),
        Val::Uint(integer) => integer.to_string(),
        Val::Double(float) => go_float(*float),
        Val::Bytes(bytes) => String::from_utf8(bytes.to_vec()).ok()?,
        Val::Timestamp(time) => time.to_string(),
        Val::Duration(nanos) => {
            let sign = if *nanos < 0 { "-" } else { "" };
            let (seconds, rest) = (
                nanos.unsigned_abs() / 1_000_000_000,
                nanos.unsigned_abs() % 1_000_000_000,
            );
            let fraction = format!(".{rest:09}");
            let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
            format!("{sign}{seconds}{fraction}s")
        }
        Val::Null
        | Val::Array(..)
        | Val::Object(..)
        | Val::List(_)
        | Val::Map(_)
        | Val::Optional(_)
        | Val::Type(_)
        | Val::Foreign(_) => return None,
    })
}

fn duration_part<'v>(name: &str, nanos: i64) -> Result<Val<'v>, String> {
    Ok(Val::Int(match name {
        "getHours" => nanos / 3_600_000_000_000,
        "getMinutes" => nanos / 60_000_000_000,
        "getSeconds" => nanos / 1_000_000_000,
        "getMilliseconds" => nanos / 1_000_000,
        _ => return Err(no_overload()),
    }))
}

fn time_part<'v>(name: &str, time: Timestamp, zone: &TimeZone) -> Result<Val<'v>, String> {
    let time = time.to_zoned(zone.clone());
    Ok(Val::Int(match name {
        "getFullYear" => i64::from(time.year()),
        "getMonth" => i64::from(time.month()) - 1,
        "getDate" => i64::from(time.day()),
        "getDayOfMonth" => i64::from(time.day()) - 1,
        "getDayOfWeek" => i64::from(time.weekday().to_sunday_zero_offset()),
        "getDayOfYear" => i64::from(time.day_of_year()) - 1,
        "getHours" => i64::from(time.hour()),
        "getMinutes" => i64::from(time.minute()),
        "getSeconds" => i64::from(time.second()),
        "getMilliseconds" => i64::from(time.millisecond()),
        _ => return Err(no_overload()),
    }))
}

/// A zone by its name, or `+02:00`.
fn time_zone(name: &str) -> Result<TimeZone, String> {
    let (sign, digits) = match name.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, name.strip_prefix('+').unwrap_or(name)),
    };
    if let Some((hours, minutes)) = digits.split_once(':')
        && let (Ok(hours), Ok(minutes)) = (hours.parse::<i32>(), minutes.parse::<i32>())
        && hours.abs() < 24
        && (0..60).contains(&minutes)
    {
        return Offset::from_seconds(sign * (hours * 3600 + minutes * 60))
            .map(TimeZone::fixed)
            .map_err(|error| error.to_string());
    }
    TimeZone::get(name).map_err(|_| format!("unknown time zone {name}"))
}
