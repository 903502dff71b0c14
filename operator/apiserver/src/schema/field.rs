//! Where a field is and what is wrong with it, in the words that Kubernetes uses.
//!
//! Owns [`Path`], which costs nothing until it is printed, and [`FieldError`]. Must not know schemas. Invariant: the
//! text of an error is the text kube-apiserver writes for the same fault, because people and programs match on it.

use std::fmt::{self, Display, Formatter};

use serde_json::Value;

/// A place in an object, as a chain that lives on the stack of whoever walks the object.
///
/// `Display` renders `spec.containers[0].env`, and `<nil>` for the root, as Kubernetes does.
#[derive(Clone, Copy, Debug)]
pub enum Path<'a> {
    /// The object itself.
    Root,
    /// A prefix that is already text, for example `spec.versions[0].schema.openAPIV3Schema`.
    Text(&'a str),
    /// A named field: `.name`.
    Child(&'a Path<'a>, &'a str),
    /// A key of a map: `[key]`.
    Key(&'a Path<'a>, &'a str),
    /// An element of a list: `[3]`.
    Index(&'a Path<'a>, usize),
}

impl<'a> Path<'a> {
    /// The field `name` below this one.
    pub fn child(&'a self, name: &'a str) -> Path<'a> {
        Path::Child(self, name)
    }

    /// The map key `key` below this one.
    pub fn key(&'a self, key: &'a str) -> Path<'a> {
        Path::Key(self, key)
    }

    /// The element `index` of this list.
    pub fn index(&'a self, index: usize) -> Path<'a> {
        Path::Index(self, index)
    }

    /// Whether this is the object itself.
    pub fn is_root(&self) -> bool {
        matches!(self, Path::Root)
    }

    fn write(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Text(text) => out.write_str(text),
            Path::Child(parent, name) => {
                parent.write(out)?;
                if !parent.is_root() {
                    out.write_str(".")?;
                }
                out.write_str(name)
            }
            Path::Key(parent, key) => {
                parent.write(out)?;
                write!(out, "[{key}]")
            }
            Path::Index(parent, index) => {
                parent.write(out)?;
                write!(out, "[{index}]")
            }
        }
    }
}

impl Display for Path<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return out.write_str("<nil>");
        }
        self.write(out)
    }
}

/// What sort of fault a [`FieldError`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldErrorKind {
    /// Something the field refers to is not there.
    NotFound,
    /// The field must be given.
    Required,
    /// The value is there twice where it may be once.
    Duplicate,
    /// The value is malformed or out of range.
    Invalid,
    /// The value is none of a closed set.
    NotSupported,
    /// The field may not be given, or not so.
    Forbidden,
    /// A string is too long.
    TooLong,
    /// A list or map has too many entries.
    TooMany,
    /// A list or map has too few entries.
    TooFew,
    /// The value has the wrong type.
    TypeInvalid,
    /// The server failed to judge the field.
    Internal,
}

impl FieldErrorKind {
    /// The reason of a cause in a `Status`, for example `FieldValueRequired`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::TooFew => "FieldValueTooFew",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::Internal => "InternalError",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::TooFew => "Too few",
            Self::Internal => "Internal error",
        }
    }

    fn shows_value(self) -> bool {
        match self {
            Self::NotFound
            | Self::Duplicate
            | Self::Invalid
            | Self::TypeInvalid
            | Self::NotSupported
            | Self::TooMany
            | Self::TooFew => true,
            Self::Required | Self::Forbidden | Self::TooLong | Self::Internal => false,
        }
    }
}

/// One fault of one field. `Display` is `path: body`.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    /// Where, for example `spec.containers[0].name`; `<nil>` is the object itself.
    pub path: String,
    /// What sort of fault.
    pub kind: FieldErrorKind,
    /// What would be right; may be empty.
    pub detail: String,
    /// The value that is wrong; `None` when it is left out of the text.
    pub value: Option<Value>,
}

impl FieldError {
    /// An error of any kind, with the value it is about.
    pub fn new(
        path: impl Display,
        kind: FieldErrorKind,
        value: Option<Value>,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            path: path.to_string(),
            kind,
            detail: detail.into(),
            value,
        }
    }

    /// `Required value`.
    pub fn required(path: impl Display, detail: impl Into<String>) -> Self {
        Self::new(path, FieldErrorKind::Required, None, detail)
    }

    /// `Invalid value: <value>: <detail>`.
    pub fn invalid(path: impl Display, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(path, FieldErrorKind::Invalid, Some(value.into()), detail)
    }

    /// `Invalid value` for a value of the wrong type.
    pub fn type_invalid(
        path: impl Display,
        value: impl Into<Value>,
        detail: impl Into<String>,
    ) -> Self {
        Self::new(
            path,
            FieldErrorKind::TypeInvalid,
            Some(value.into()),
            detail,
        )
    }

    /// `Duplicate value: <value>`.
    pub fn duplicate(path: impl Display, value: impl Into<Value>) -> Self {
        Self::new(path, FieldErrorKind::Duplicate, Some(value.into()), "")
    }

    /// `Forbidden: <detail>`.
    pub fn forbidden(path: impl Display, detail: impl Into<String>) -> Self {
        Self::new(path, FieldErrorKind::Forbidden, None, detail)
    }

    /// `Unsupported value: <value>: supported values: "A", "B"`.
    pub fn not_supported<S: AsRef<str>>(
        path: impl Display,
        value: impl Into<Value>,
        supported: &[S],
    ) -> Self {
        let quoted: Vec<String> = supported.iter().map(|s| quote(s.as_ref())).collect();
        let detail = if quoted.is_empty() {
            String::new()
        } else {
            format!("supported values: {}", quoted.join(", "))
        };
        Self::new(
            path,
            FieldErrorKind::NotSupported,
            Some(value.into()),
            detail,
        )
    }

    /// `Too long: may not be more than N bytes`. Kubernetes says bytes also where characters are counted.
    pub fn too_long(path: impl Display, max: u64) -> Self {
        let unit = if max == 1 { "byte" } else { "bytes" };
        Self::new(
            path,
            FieldErrorKind::TooLong,
            None,
            format!("may not be more than {max} {unit}"),
        )
    }

    /// `Too many: N: must have at most M items`.
    pub fn too_many(path: impl Display, actual: usize, max: u64) -> Self {
        let unit = if max == 1 { "item" } else { "items" };
        Self::new(
            path,
            FieldErrorKind::TooMany,
            Some(Value::from(actual)),
            format!("must have at most {max} {unit}"),
        )
    }

    /// The text without the path, as a cause of a `Status` carries it.
    pub fn body(&self) -> String {
        let mut text = self.kind.words().to_owned();
        if self.kind.shows_value()
            && let Some(value) = &self.value
        {
            text.push_str(": ");
            text.push_str(&shown(value));
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }
}

impl Display for FieldError {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.path, self.body())
    }
}

impl std::error::Error for FieldError {}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => quote(text),
        Value::Number(number) if !number.is_i64() => go_float(number.as_f64().unwrap_or(f64::NAN)),
        other => html_escaped(&other.to_string()),
    }
}

/// JSON as Go writes it: safe to stand in a page.
fn html_escaped(json: &str) -> String {
    json.replace('&', "\\u0026")
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
}

/// A string in double quotes with Go's escapes, which is how Kubernetes prints strings in messages.
pub fn quote(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\u{b}' => out.push_str("\\v"),
            c if c.is_control() && (c as u32) < 0x80 => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A floating-point number as Go's `%v` prints it: the shortest digits, with an exponent below 1e-4 and from 1e6 on.
pub fn go_float(number: f64) -> String {
    if !number.is_finite() {
        return if number.is_nan() {
            "NaN".to_owned()
        } else if number > 0.0 {
            "+Inf".to_owned()
        } else {
            "-Inf".to_owned()
        };
    }
    let scientific = format!("{number:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if number != 0.0 && !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    format!("{number}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_print_as_kubernetes_prints_them() {
        let root = Path::Root;
        assert_eq!(root.to_string(), "<nil>");
        let spec = root.child("spec");
        let containers = spec.child("containers");
        let first = containers.index(0);
        assert_eq!(first.child("name").to_string(), "spec.containers[0].name");
        assert_eq!(spec.key("a/b").to_string(), "spec[a/b]");
    }

    #[test]
    fn errors_print_as_kubernetes_prints_them() {
        let cases = [
            (FieldError::required("spec.a", ""), "spec.a: Required value"),
            (
                FieldError::required("spec.a", "must be set"),
                "spec.a: Required value: must be set",
            ),
            (
                FieldError::invalid("spec.a", "x\"y", "bad"),
                "spec.a: Invalid value: \"x\\\"y\": bad",
            ),
            (
                FieldError::invalid("spec.a", 3, "bad"),
                "spec.a: Invalid value: 3: bad",
            ),
            (
                FieldError::invalid("spec.a", 1.5, "bad"),
                "spec.a: Invalid value: 1.5: bad",
            ),
            (
                FieldError::invalid("spec.a", json!({"b": [1]}), "bad"),
                "spec.a: Invalid value: {\"b\":[1]}: bad",
            ),
            (
                FieldError::not_supported("spec.a", "x", &["A", "B"]),
                "spec.a: Unsupported value: \"x\": supported values: \"A\", \"B\"",
            ),
            (
                FieldError::too_long("spec.a", 63),
                "spec.a: Too long: may not be more than 63 bytes",
            ),
            (
                FieldError::too_many("spec.a", 5, 3),
                "spec.a: Too many: 5: must have at most 3 items",
            ),
            (
                FieldError::duplicate("spec.a[1]", json!({"name": "x"})),
                "spec.a[1]: Duplicate value: {\"name\":\"x\"}",
            ),
            (
                FieldError::forbidden("spec.a", "no"),
                "spec.a: Forbidden: no",
            ),
        ];
        for (error, text) in cases {
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn floats_print_as_go_prints_them() {
        for (number, text) in [
            (1.5, "1.5"),
            (100_000.0, "100000"),
            (1e21, "1e+21"),
            (1_000_000.0, "1e+06"),
            (1_234_567.0, "1.234567e+06"),
            (0.00001, "1e-05"),
            (0.0, "0"),
            (-2.0, "-2"),
        ] {
            assert_eq!(go_float(number), text);
        }
    }
}
