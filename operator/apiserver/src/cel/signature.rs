//! The functions that rules may call.
//!
//! Owns the table of functions with what they take and make. Must not know evaluation or costs. Invariant: a function
//! that is in the table can be evaluated.

use super::ty::Kind;

/// What a function makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Makes {
    /// Always this.
    Kind(Kind),
    /// The type of its first argument.
    Same,
    /// An element of its first argument.
    Element,
    /// A list of this.
    List(Kind),
    /// An optional list of strings.
    OptionalStrings,
    /// An optional of this.
    Optional(Kind),
    /// An optional of its first argument.
    OptionalSame,
}

/// Who evaluates a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// This crate.
    Native,
    /// Kubernetes' libraries.
    Library,
}

/// One form of a function.
#[derive(Debug)]
pub struct Signature {
    /// The name, with its namespace.
    pub name: &'static str,
    /// Whether it is called on its first argument.
    pub method: bool,
    /// What it takes; the target of a method first.
    pub takes: &'static [Kind],
    /// What it makes.
    pub makes: Makes,
    /// Who evaluates it.
    pub provider: Provider,
}

const fn native(
    name: &'static str,
    method: bool,
    takes: &'static [Kind],
    makes: Makes,
) -> Signature {
    Signature {
        name,
        method,
        takes,
        makes,
        provider: Provider::Native,
    }
}

const fn library(
    name: &'static str,
    method: bool,
    takes: &'static [Kind],
    makes: Makes,
) -> Signature {
    Signature {
        name,
        method,
        takes,
        makes,
        provider: Provider::Library,
    }
}

/// The forms of a function; none when there is no such function.
pub fn signatures(name: &str, method: bool) -> impl Iterator<Item = &'static Signature> {
    SIGNATURES
        .iter()
        .filter(move |signature| signature.method == method && signature.name == name)
}

use Kind::{
    Any, Bool, Bytes, Cidr, Double, Duration, Format, Int, Ip, List, Map, Optional, Quantity,
    Semver, String as Text, Timestamp, Type, Uint, Url,
};

const BOOL: Makes = Makes::Kind(Bool);
const INT: Makes = Makes::Kind(Int);
const TEXT: Makes = Makes::Kind(Text);

/// Every function of CEL's standard library and of the libraries that kube-apiserver 1.33 gives to rules.
static SIGNATURES: &[Signature] = &[
    native("size", false, &[Text], INT),
    native("size", false, &[Bytes], INT),
    native("size", false, &[List], INT),
    native("size", false, &[Map], INT),
    native("size", true, &[Text], INT),
    native("size", true, &[Bytes], INT),
    native("size", true, &[List], INT),
    native("size", true, &[Map], INT),
    native("contains", true, &[Text, Text], BOOL),
    native("startsWith", true, &[Text, Text], BOOL),
    native("endsWith", true, &[Text, Text], BOOL),
    native("matches", true, &[Text, Text], BOOL),
    native("matches", false, &[Text, Text], BOOL),
    native("type", false, &[Any], Makes::Kind(Type)),
    native("dyn", false, &[Any], Makes::Kind(Any)),
    native("bool", false, &[Bool], BOOL),
    native("bool", false, &[Text], BOOL),
    native("int", false, &[Int], INT),
    native("int", false, &[Uint], INT),
    native("int", false, &[Double], INT),
    native("int", false, &[Text], INT),
    native("int", false, &[Timestamp], INT),
    native("int", false, &[Duration], INT),
    native("uint", false, &[Uint], Makes::Kind(Uint)),
    native("uint", false, &[Int], Makes::Kind(Uint)),
    native("uint", false, &[Double], Makes::Kind(Uint)),
    native("uint", false, &[Text], Makes::Kind(Uint)),
    native("double", false, &[Double], Makes::Kind(Double)),
    native("double", false, &[Int], Makes::Kind(Double)),
    native("double", false, &[Uint], Makes::Kind(Double)),
    native("double", false, &[Text], Makes::Kind(Double)),
    native("string", false, &[Text], TEXT),
    native("string", false, &[Bool], TEXT),
    native("string", false, &[Int], TEXT),
    native("string", false, &[Uint], TEXT),
    native("string", false, &[Double], TEXT),
    native("string", false, &[Bytes], TEXT),
    native("string", false, &[Timestamp], TEXT),
    native("string", false, &[Duration], TEXT),
    native("bytes", false, &[Text], Makes::Kind(Bytes)),
    native("bytes", false, &[Bytes], Makes::Kind(Bytes)),
    native("duration", false, &[Text], Makes::Kind(Duration)),
    native("duration", false, &[Duration], Makes::Kind(Duration)),
    native("timestamp", false, &[Text], Makes::Kind(Timestamp)),
    native("timestamp", false, &[Int], Makes::Kind(Timestamp)),
    native("timestamp", false, &[Timestamp], Makes::Kind(Timestamp)),
    native("getFullYear", true, &[Timestamp], INT),
    native("getFullYear", true, &[Timestamp, Text], INT),
    native("getMonth", true, &[Timestamp], INT),
    native("getMonth", true, &[Timestamp, Text], INT),
    native("getDate", true, &[Timestamp], INT),
    native("getDate", true, &[Timestamp, Text], INT),
    native("getDayOfMonth", true, &[Timestamp], INT),
    native("getDayOfMonth", true, &[Timestamp, Text], INT),
    native("getDayOfWeek", true, &[Timestamp], INT),
    native("getDayOfWeek", true, &[Timestamp, Text], INT),
    native("getDayOfYear", true, &[Timestamp], INT),
    native("getDayOfYear", true, &[Timestamp, Text], INT),
    native("getHours", true, &[Timestamp], INT),
    native("getHours", true, &[Timestamp, Text], INT),
    native("getMinutes", true, &[Timestamp], INT),
    native("getMinutes", true, &[Timestamp, Text], INT),
    native("getSeconds", true, &[Timestamp], INT),
    native("getSeconds", true, &[Timestamp, Text], INT),
    native("getMilliseconds", true, &[Timestamp], INT),
    native("getMilliseconds", true, &[Timestamp, Text], INT),
    native("getHours", true, &[Duration], INT),
    native("getMinutes", true, &[Duration], INT),
    native("getSeconds", true, &[Duration], INT),
    native("getMilliseconds", true, &[Duration], INT),
    native("optional.of", false, &[Any], Makes::OptionalSame),
    native(
        "optional.ofNonZeroValue",
        false,
        &[Any],
        Makes::OptionalSame,
    ),
    native("optional.none", false, &[], Makes::Optional(Any)),
    native("hasValue", true, &[Optional], BOOL),
    native("value", true, &[Optional], Makes::Element),
    native("orValue", true, &[Optional, Any], Makes::Element),
    native("or", true, &[Optional, Optional], Makes::Same),
    native("sets.contains", false, &[List, List], BOOL),
    native("sets.equivalent", false, &[List, List], BOOL),
    native("sets.intersects", false, &[List, List], BOOL),
    native("isSorted", true, &[List], BOOL),
    native("min", true, &[List], Makes::Element),
    native("max", true, &[List], Makes::Element),
    native("sum", true, &[List], Makes::Element),
    native("indexOf", true, &[List, Any], INT),
    native("lastIndexOf", true, &[List, Any], INT),
    native("lowerAscii", true, &[Text], TEXT),
    native("upperAscii", true, &[Text], TEXT),
    native("trim", true, &[Text], TEXT),
    native("join", true, &[List], TEXT),
    native("join", true, &[List, Text], TEXT),
    native("find", true, &[Text, Text], TEXT),
    native("findAll", true, &[Text, Text], Makes::List(Text)),
    native("findAll", true, &[Text, Text, Int], Makes::List(Text)),
    native("charAt", true, &[Text, Int], TEXT),
    library("indexOf", true, &[Text, Text], INT),
    library("indexOf", true, &[Text, Text, Int], INT),
    library("lastIndexOf", true, &[Text, Text], INT),
    library("lastIndexOf", true, &[Text, Text, Int], INT),
    library("replace", true, &[Text, Text, Text], TEXT),
    library("replace", true, &[Text, Text, Text, Int], TEXT),
    library("split", true, &[Text, Text], Makes::List(Text)),
    library("split", true, &[Text, Text, Int], Makes::List(Text)),
    native("substring", true, &[Text, Int], TEXT),
    native("substring", true, &[Text, Int, Int], TEXT),
    library("format", true, &[Text, List], TEXT),
    library("strings.quote", false, &[Text], TEXT),
    library("url", false, &[Text], Makes::Kind(Url)),
    library("isURL", false, &[Text], BOOL),
    library("getScheme", true, &[Url], TEXT),
    library("getHost", true, &[Url], TEXT),
    library("getHostname", true, &[Url], TEXT),
    library("getPort", true, &[Url], TEXT),
    library("getEscapedPath", true, &[Url], TEXT),
    library("getQuery", true, &[Url], Makes::Kind(Any)),
    library("quantity", false, &[Text], Makes::Kind(Quantity)),
    library("isQuantity", false, &[Text], BOOL),
    library("isInteger", true, &[Quantity], BOOL),
    library("asInteger", true, &[Quantity], INT),
    library("asApproximateFloat", true, &[Quantity], Makes::Kind(Double)),
    library("sign", true, &[Quantity], INT),
    library("add", true, &[Quantity, Quantity], Makes::Kind(Quantity)),
    library("add", true, &[Quantity, Int], Makes::Kind(Quantity)),
    library("sub", true, &[Quantity, Quantity], Makes::Kind(Quantity)),
    library("sub", true, &[Quantity, Int], Makes::Kind(Quantity)),
    library("isLessThan", true, &[Quantity, Quantity], BOOL),
    library("isGreaterThan", true, &[Quantity, Quantity], BOOL),
    library("compareTo", true, &[Quantity, Quantity], INT),
    library("ip", false, &[Text], Makes::Kind(Ip)),
    library("isIP", false, &[Text], BOOL),
    library("ip.isCanonical", false, &[Text], BOOL),
    library("family", true, &[Ip], INT),
    library("isUnspecified", true, &[Ip], BOOL),
    library("isLoopback", true, &[Ip], BOOL),
    library("isLinkLocalMulticast", true, &[Ip], BOOL),
    library("isLinkLocalUnicast", true, &[Ip], BOOL),
    library("isGlobalUnicast", true, &[Ip], BOOL),
    library("string", false, &[Ip], TEXT),
    library("cidr", false, &[Text], Makes::Kind(Cidr)),
    library("isCIDR", false, &[Text], BOOL),
    library("containsIP", true, &[Cidr, Text], BOOL),
    library("containsIP", true, &[Cidr, Ip], BOOL),
    library("containsCIDR", true, &[Cidr, Text], BOOL),
    library("containsCIDR", true, &[Cidr, Cidr], BOOL),
    library("ip", true, &[Cidr], Makes::Kind(Ip)),
    library("masked", true, &[Cidr], Makes::Kind(Cidr)),
    library("prefixLength", true, &[Cidr], INT),
    library("string", false, &[Cidr], TEXT),
    library("semver", false, &[Text], Makes::Kind(Semver)),
    library("isSemver", false, &[Text], BOOL),
    library("major", true, &[Semver], INT),
    library("minor", true, &[Semver], INT),
    library("patch", true, &[Semver], INT),
    library("isLessThan", true, &[Semver, Semver], BOOL),
    library("isGreaterThan", true, &[Semver, Semver], BOOL),
    library("compareTo", true, &[Semver, Semver], INT),
    library("format.named", false, &[Text], Makes::Optional(Format)),
    library("format.dns1123Label", false, &[], Makes::Kind(Format)),
    library("format.dns1123Subdomain", false, &[], Makes::Kind(Format)),
    library("format.dns1035Label", false, &[], Makes::Kind(Format)),
    library("format.qualifiedName", false, &[], Makes::Kind(Format)),
    library("format.dns1123LabelPrefix", false, &[], Makes::Kind(Format)),
    library(
        "format.dns1123SubdomainPrefix",
        false,
        &[],
        Makes::Kind(Format),
    ),
    library("format.dns1035LabelPrefix", false, &[], Makes::Kind(Format)),
    library("format.labelValue", false, &[], Makes::Kind(Format)),
    library("format.uri", false, &[], Makes::Kind(Format)),
    library("format.uuid", false, &[], Makes::Kind(Format)),
    library("format.byte", false, &[], Makes::Kind(Format)),
    library("format.date", false, &[], Makes::Kind(Format)),
    library("format.datetime", false, &[], Makes::Kind(Format)),
    library("validate", true, &[Format, Text], Makes::OptionalStrings),
];
