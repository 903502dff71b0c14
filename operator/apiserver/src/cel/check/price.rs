//! What each function costs by estimate.
//!
//! Owns kube-apiserver's estimates, function by function. Must not know expressions. Invariant: an estimate never falls
//! short of kube-apiserver's for the same sizes.

use crate::cel::ty::Kind;

use super::Info;
use super::cost::{Size, scaled};

/// The regular expressions of named formats count as this long, in characters.
const FORMAT_PATTERN: f64 = 128.0;

/// What a function costs beside its arguments, and the size of what it makes.
pub fn estimate(name: &str, target: Option<&Info>, args: &[Info]) -> (u64, Option<Size>) {
    let call = Call { name, target, args };
    call.search()
        .or_else(|| call.text())
        .or_else(|| call.list())
        .or_else(|| call.library())
        .or_else(|| call.conversion())
        .unwrap_or((1, None))
}

struct Call<'c> {
    name: &'c str,
    target: Option<&'c Info>,
    args: &'c [Info],
}

type Estimate = Option<(u64, Option<Size>)>;

impl Call<'_> {
    /// Functions that are also methods have their subject first, wherever it is written.
    fn subject(&self) -> Size {
        self.target
            .or(self.args.first())
            .map_or(Size::UNKNOWN, Info::size)
    }

    fn argument(&self, index: usize) -> Size {
        self.args.get(index).map_or(Size::UNKNOWN, Info::size)
    }

    fn search(&self) -> Estimate {
        let subject = self.subject();
        Some(match self.name {
            "contains" => {
                let part = scaled(self.argument(0).max, 0.1);
                (scaled(subject.max, 0.1).saturating_mul(part), None)
            }
            "startsWith" | "endsWith" => (scaled(self.argument(0).max, 0.1), None),
            "matches" | "find" | "findAll" => {
                let pattern = match self.target {
                    Some(_) => self.argument(0),
                    None => self.argument(1),
                };
                let text = scaled(subject.max.saturating_add(1), 0.1);
                let cost = text.saturating_mul(scaled(pattern.max, 0.25));
                let made = (self.name != "matches").then(|| Size::at_most(subject.max));
                (cost, made)
            }
            _ => return None,
        })
    }

    fn text(&self) -> Estimate {
        let subject = self.subject();
        Some(match self.name {
            "lowerAscii" | "upperAscii" | "substring" | "trim" | "url" => {
                (scaled(subject.max, 0.1), Some(subject))
            }
            "replace" => {
                let made = replaced(subject, self.argument(0), self.argument(1));
                (scaled(subject.max, 0.2), Some(made))
            }
            "split" => (scaled(subject.max, 0.2), Some(Size::at_most(subject.max))),
            "join" => {
                let all = self.joined();
                (scaled(all.max, 0.1), Some(all))
            }
            "format" => (scaled(subject.max, 0.1), None),
            "strings.quote" => {
                let size = Size {
                    min: subject.min.saturating_add(2),
                    max: subject.max.saturating_mul(2).saturating_add(2),
                };
                (scaled(subject.max, 0.1), Some(size))
            }
            _ => return None,
        })
    }

    fn joined(&self) -> Size {
        let subject = self.subject();
        let items = self.target.map_or(Size::UNKNOWN, |target| {
            subject.times(Size::of(&target.ty.element()))
        });
        if self.args.is_empty() {
            return items;
        }
        let separators = Size {
            min: subject.min.saturating_sub(1),
            max: subject.max.saturating_sub(1),
        };
        items.plus(self.argument(0).times(separators))
    }

    fn list(&self) -> Estimate {
        let subject = self.subject();
        let pairs = || self.argument(0).max.saturating_mul(self.argument(1).max);
        Some(match self.name {
            "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => {
                let target = self.target?;
                if target.ty.kind() != Kind::List {
                    return Some((scaled(subject.max, 0.1), None));
                }
                let item = target.ty.element();
                let element = match item.kind() {
                    Kind::String | Kind::Bytes => scaled(Size::of(&item).max, 0.1),
                    _ => 0,
                };
                (subject.max.saturating_mul(element.saturating_add(1)), None)
            }
            "sets.contains" | "sets.intersects" => (pairs().saturating_add(1), None),
            "sets.equivalent" => (pairs().saturating_mul(2).saturating_add(1), None),
            _ => return None,
        })
    }

    fn library(&self) -> Estimate {
        let subject = self.subject();
        Some(match self.name {
            "cidr" | "isIP" | "isCIDR" | "quantity" | "isQuantity" | "semver" | "isSemver" => {
                (scaled(subject.max, 0.1), None)
            }
            "ip" if self.target.is_none() => (scaled(subject.max, 0.1), None),
            "ip.isCanonical" => (scaled(subject.max, 0.2), None),
            "containsIP" | "containsCIDR" => {
                let text = self
                    .args
                    .first()
                    .is_some_and(|info| info.ty.kind() == Kind::String);
                let parse = if text {
                    scaled(self.argument(0).max, 0.1)
                } else {
                    0
                };
                // Addresses are at most 16 bytes; a network is masked as well.
                let compare = if self.name == "containsIP" { 4 } else { 7 };
                (parse.saturating_add(compare), None)
            }
            "validate" => {
                let text = scaled(self.argument(0).max, 0.1);
                (scaled(text, FORMAT_PATTERN * 0.25), None)
            }
            _ => return None,
        })
    }

    fn conversion(&self) -> Estimate {
        let subject = self.subject();
        let kind = self.args.first().map(|info| info.ty.kind());
        Some(match self.name {
            // Each character is at most four bytes, and the other way round.
            "bytes" => {
                let max = subject.max.saturating_mul(4);
                (scaled(subject.max, 0.1), Some(Size { max, ..subject }))
            }
            "string" if matches!(kind, Some(Kind::Bytes | Kind::Any)) => {
                let min = subject.min / 4;
                (scaled(subject.max, 0.1), Some(Size { min, ..subject }))
            }
            "dyn" => (1, Some(subject)),
            _ => return None,
        })
    }
}

/// The size of a string in which parts are replaced.
fn replaced(subject: Size, part: Size, with: Size) -> Size {
    let max = if part.min == 0 {
        subject
            .max
            .saturating_add(1)
            .saturating_mul(with.max)
            .saturating_add(subject.max)
    } else if with.max <= part.min {
        subject.max
    } else {
        subject.max.div_ceil(part.min).saturating_mul(with.max)
    };
    Size::at_most(max)
}
