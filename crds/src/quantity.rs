//! Kubernetes quantities (`512Mi`, `250m`, `1.5`), read into whole numbers.
//!
//! Only what a container's limits need: bytes and thousandths of a core.

/// Reads a quantity in thousandths, rounding up, as Kubernetes does for cores (`250m` is 250).
///
/// # Errors
/// A text that is not a quantity, is negative, or does not fit.
pub fn milli(text: &str) -> Result<i64, String> {
    scaled(text, 1000)
}

/// Reads a quantity in whole units, rounding up (`64Mi` is 67108864).
///
/// # Errors
/// A text that is not a quantity, is negative, or does not fit.
pub fn units(text: &str) -> Result<i64, String> {
    scaled(text, 1)
}

fn scaled(text: &str, scale: i128) -> Result<i64, String> {
    let refuse = || {
        format!(
            "{text:?} is not a quantity: write a number with an optional suffix such as m, k, M, Ki, Mi or Gi"
        )
    };
    let digits = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let (numerator, denominator): (i128, i128) = match suffix {
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1000),
        "" => (1, 1),
        "k" => (1000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        _ => return Err(refuse()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    // Twelve digits each way keep every product below the range of i128.
    if (whole.is_empty() && fraction.is_empty())
        || whole.len() > 18
        || fraction.len() > 9
        || fraction.contains('.')
    {
        return Err(refuse());
    }
    let power = 10_i128.pow(u32::try_from(fraction.len()).map_err(|_| refuse())?);
    let parse = |part: &str| {
        if part.is_empty() {
            Ok(0)
        } else {
            part.parse::<i128>().map_err(|_| refuse())
        }
    };
    let value = parse(whole)? * power + parse(fraction)?;
    let (top, bottom) = (value * numerator * scale, power * denominator);
    i64::try_from((top + bottom - 1) / bottom).map_err(|_| refuse())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_as_kubernetes_reads_them() {
        assert_eq!(milli("250m"), Ok(250));
        assert_eq!(milli("1.5"), Ok(1500));
        assert_eq!(milli("0.0001"), Ok(1));
        assert_eq!(units("64Mi"), Ok(64 << 20));
        assert_eq!(units("1k"), Ok(1000));
        for bad in [
            "",
            "x",
            "-1",
            "1.2.3",
            "1e3",
            "5Zi",
            ".",
            "99999999999999999999",
        ] {
            assert!(units(bad).is_err(), "{bad}");
        }
    }
}
