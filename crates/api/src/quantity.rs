//! Sizes as people write them in Kubernetes (`5Gi`, `500M`, `1e9`), as whole bytes, and back.
//!
//! A size is at most 2^53 bytes, the largest number that every reader of JSON reads exactly. Parts of a byte are
//! rounded up, since a limit must never be smaller than what was asked for. What a size means is not decided here.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The suffixes that a size may have, and how many bytes one of each is.
const UNITS: [(&str, u64); 13] = [
    ("", 1),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000),
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("Ei", 1 << 60),
];

/// More digits than these would not fit the exact arithmetic below, and no user means them.
const MAX_FRACTION_DIGITS: usize = 18;

/// Why a text is not a size.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum QuantityError {
    /// There is no number to read.
    #[error("{text:?} is not a size; write a number and a unit, such as 5Gi")]
    NotANumber {
        /// The text that was given.
        text: String,
    },
    /// The number is negative.
    #[error("{text:?} is negative; a size is at least 0")]
    Negative {
        /// The text that was given.
        text: String,
    },
    /// The unit is not one of Kubernetes.
    #[error("unknown suffix {suffix:?} in {text:?}; {hint}")]
    Suffix {
        /// The text that was given.
        text: String,
        /// What follows the number.
        suffix: String,
        /// The way out.
        hint: String,
    },
    /// The exponent is negative, so that the size would be counted in parts of a byte.
    #[error("the exponent of {text:?} is negative; write the size in whole bytes, such as 1e9")]
    NegativeExponent {
        /// The text that was given.
        text: String,
    },
    /// The number has more digits after the point than a size can have.
    #[error("{text:?} has more than {MAX_FRACTION_DIGITS} digits after the point; use a smaller unit")]
    TooPrecise {
        /// The text that was given.
        text: String,
    },
    /// The size is beyond what can be counted exactly everywhere.
    #[error("{text:?} is more than 8Pi (2^53 bytes), the largest size that can be counted exactly")]
    TooLarge {
        /// The text that was given.
        text: String,
    },
    /// The size is zero where a size must be something.
    #[error("{text:?} is nothing; a quota must be more than 0 bytes, leave it out for no limit")]
    Zero {
        /// The text that was given.
        text: String,
    },
}

/// A number of bytes, at most 2^53.
///
/// `FromStr` reads what people write, `Display` writes 3 significant digits. In JSON it is the number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Bytes(u64);

impl Bytes {
    /// The largest number of bytes: 8Pi.
    pub const MAX: Self = Self(1 << 53);

    /// `count` bytes, or nothing if they are more than [`Bytes::MAX`].
    #[must_use]
    pub fn new(count: u64) -> Option<Self> {
        (count <= Self::MAX.0).then_some(Self(count))
    }

    /// `count` bytes, or the nearest number that is allowed; for measurements, which are never refused.
    #[must_use]
    pub fn saturating(count: i64) -> Self {
        Self(u64::try_from(count).unwrap_or(0).min(Self::MAX.0))
    }

    /// Reads a quota: a size that is not zero.
    pub fn parse_quota(text: &str) -> Result<Self, QuantityError> {
        match text.parse()? {
            Self(0) => Err(QuantityError::Zero { text: text.to_owned() }),
            bytes => Ok(bytes),
        }
    }

    /// The number, for arithmetic.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }

    /// The number as `bigint` of SQL and `int64` of Kubernetes have it.
    #[must_use]
    pub fn as_i64(self) -> i64 {
        // The bound of 2^53 leaves ten bits unused.
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }

    /// How much of `limit` this is, in whole percent rounded down; 100 is reached only when the limit is.
    #[must_use]
    pub fn percent_of(self, limit: Self) -> i32 {
        let percent = u128::from(self.0) * 100 / u128::from(limit.0.max(1));
        i32::try_from(percent).unwrap_or(i32::MAX)
    }
}

impl FromStr for Bytes {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let owned = || text.to_owned();
        if text.starts_with('-') {
            return Err(QuantityError::Negative { text: owned() });
        }
        let number = text.strip_prefix('+').unwrap_or(text);
        let digits_end = number.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(number.len());
        let (number, suffix) = number.split_at(digits_end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
            return Err(QuantityError::NotANumber { text: owned() });
        }
        let unit = unit(text, suffix)?;
        let fraction = fraction.trim_end_matches('0');
        if fraction.len() > MAX_FRACTION_DIGITS {
            return Err(QuantityError::TooPrecise { text: owned() });
        }
        let too_large = || QuantityError::TooLarge { text: owned() };
        // 18 digits of the fraction times a unit of at most 2^60 stay below 2^128.
        let parts = digits(fraction).ok_or_else(too_large)? * unit;
        let scale = 10_u128.pow(u32::try_from(fraction.len()).map_err(|_| too_large())?);
        let total = digits(whole)
            .and_then(|whole| whole.checked_mul(unit))
            .and_then(|bytes| bytes.checked_add(parts.div_ceil(scale)))
            .ok_or_else(too_large)?;
        u64::try_from(total).ok().and_then(Self::new).ok_or_else(too_large)
    }
}

impl TryFrom<u64> for Bytes {
    type Error = QuantityError;

    fn try_from(count: u64) -> Result<Self, QuantityError> {
        Self::new(count).ok_or_else(|| QuantityError::TooLarge { text: count.to_string() })
    }
}

impl From<Bytes> for u64 {
    fn from(bytes: Bytes) -> Self {
        bytes.0
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&human(self.0))
    }
}

/// A size for people: 3 significant digits and a binary unit, such as `1.23Gi`. It reads back as nearly the same size.
#[must_use]
pub fn human(bytes: u64) -> String {
    if bytes < 1_000 {
        return bytes.to_string();
    }
    if bytes < 1_024 {
        // A thousandth of a Ki is more than a byte: rounded down, what is read back says the same again.
        return format!("0.{:03}Ki", bytes * 1_000 / 1_024);
    }
    let bytes = u128::from(bytes);
    for (index, suffix) in ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].into_iter().enumerate() {
        let unit = 1_u128 << (10 * (index + 1));
        // From 999.5 on it would be 1000 of this unit, which has four digits: the next unit says it in three.
        if bytes * 2 < unit * 1_999 || suffix == "Ei" {
            return format!("{}{suffix}", three_digits(bytes, unit));
        }
    }
    bytes.to_string()
}

/// How many bytes the suffix stands for; `text` is the whole, for the message.
fn unit(text: &str, suffix: &str) -> Result<u128, QuantityError> {
    if let Some((_, bytes)) = UNITS.iter().find(|(name, _)| *name == suffix) {
        return Ok(u128::from(*bytes));
    }
    let Some(exponent) = suffix.strip_prefix(['e', 'E']).filter(|rest| is_exponent(rest)) else {
        return Err(QuantityError::Suffix { text: text.to_owned(), suffix: suffix.to_owned(), hint: hint(suffix) });
    };
    if exponent.starts_with('-') {
        return Err(QuantityError::NegativeExponent { text: text.to_owned() });
    }
    match exponent.trim_start_matches('+').parse::<u32>() {
        Ok(exponent) if exponent <= 18 => Ok(10_u128.pow(exponent)),
        _ => Err(QuantityError::TooLarge { text: text.to_owned() }),
    }
}

/// Whether `text` is digits with an optional sign.
fn is_exponent(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit())
}

/// What a user who wrote `suffix` may have meant.
fn hint(suffix: &str) -> String {
    let lower = suffix.trim().to_ascii_lowercase();
    if matches!(lower.as_str(), "b" | "byte" | "bytes") {
        return "bytes have no suffix".to_owned();
    }
    if matches!(suffix, "m" | "u" | "n") {
        return "a size cannot be parts of a byte; did you mean Mi?".to_owned();
    }
    let letter = lower.chars().next().unwrap_or_default();
    match ("kmgtpe".find(letter), letter) {
        (Some(_), 'k') if !lower.contains('i') => "did you mean k (1000) or Ki (1024)?".to_owned(),
        (Some(_), letter) if lower.contains('i') => {
            format!("did you mean {}i?", letter.to_ascii_uppercase())
        }
        (Some(_), letter) => {
            let letter = letter.to_ascii_uppercase();
            format!("did you mean {letter} or {letter}i?")
        }
        (None, _) => "use one of Ki, Mi, Gi, Ti, Pi, Ei, k, M, G, T, P, E or none for bytes".to_owned(),
    }
}

/// The number that decimal digits stand for; none are zero.
fn digits(text: &str) -> Option<u128> {
    if text.is_empty() { Some(0) } else { text.parse().ok() }
}

/// `bytes / unit` with 3 significant digits, rounded half up, without trailing zeros.
fn three_digits(bytes: u128, unit: u128) -> String {
    let decimals: u32 = match bytes / unit {
        0 => 3,
        1..10 => 2,
        10..100 => 1,
        _ => 0,
    };
    let scale = 10_u128.pow(decimals);
    let scaled = (bytes * scale * 2 + unit) / (unit * 2);
    // 999.5Gi would be 0.976Ti, which reads back as less than 999.5Gi, and that as 999Gi.
    let scaled = if decimals == 3 { scaled.max(977) } else { scaled };
    if scaled.is_multiple_of(scale) {
        return (scaled / scale).to_string();
    }
    let width = usize::try_from(decimals).unwrap_or(0);
    let text = format!("{}.{:0width$}", scaled / scale, scaled % scale);
    text.trim_end_matches('0').to_owned()
}

/// Whether a measured size is news to a user who was shown another one: it moved by two percent and 64 KiB.
#[must_use]
pub fn is_news(shown: i64, measured: i64) -> bool {
    const LEAST: u64 = 64 * 1024;
    let moved = shown.abs_diff(measured);
    moved >= LEAST && moved.saturating_mul(50) >= shown.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expected: &str) {
        let found = match text.parse::<Bytes>() {
            Ok(bytes) => bytes.get().to_string(),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn sizes_are_read_as_kubernetes_reads_them() {
        check("0", "0");
        check("1024", "1024");
        check("5Gi", "5368709120");
        check("+5Gi", "5368709120");
        check("1.5Gi", "1610612736");
        check(".5k", "500");
        check("5.M", "5000000");
        check("1e9", "1000000000");
        check("1E9", "1000000000");
        check("1e+3", "1000");
        check("2.5e3", "2500");
        check("0.001E", "1000000000000000");
        check("8Pi", "9007199254740992");
        check("0.0078125Ei", "9007199254740992");
        check("0.0000000001Ki", "1");
        check("1.000000000000000001Ki", "1025");
        check("1.0000000000000000000000000000Ki", "1024");
        check("00000000000000000000000000000000005k", "5000");
    }

    #[test]
    fn errors_name_the_way_out() {
        check("5Gib", "unknown suffix \"Gib\" in \"5Gib\"; did you mean Gi?");
        check("5GB", "unknown suffix \"GB\" in \"5GB\"; did you mean G or Gi?");
        check("5g", "unknown suffix \"g\" in \"5g\"; did you mean G or Gi?");
        check("5K", "unknown suffix \"K\" in \"5K\"; did you mean k (1000) or Ki (1024)?");
        check("5ki", "unknown suffix \"ki\" in \"5ki\"; did you mean Ki?");
        check("5B", "unknown suffix \"B\" in \"5B\"; bytes have no suffix");
        check("5m", "unknown suffix \"m\" in \"5m\"; a size cannot be parts of a byte; did you mean Mi?");
        check("5e", "unknown suffix \"e\" in \"5e\"; did you mean E or Ei?");
        check("5e3B", "unknown suffix \"e3B\" in \"5e3B\"; did you mean E or Ei?");
        check("5 Gi", "unknown suffix \" Gi\" in \"5 Gi\"; did you mean Gi?");
        check(
            "5x",
            "unknown suffix \"x\" in \"5x\"; use one of Ki, Mi, Gi, Ti, Pi, Ei, k, M, G, T, P, E or none for bytes",
        );
        check("", "\"\" is not a size; write a number and a unit, such as 5Gi");
        check("Gi", "\"Gi\" is not a size; write a number and a unit, such as 5Gi");
        check("1.2.3", "\"1.2.3\" is not a size; write a number and a unit, such as 5Gi");
        check("-1", "\"-1\" is negative; a size is at least 0");
        check("1e-3", "the exponent of \"1e-3\" is negative; write the size in whole bytes, such as 1e9");
        check(
            "9007199254740993",
            "\"9007199254740993\" is more than 8Pi (2^53 bytes), the largest size that can be counted exactly",
        );
        check("1e99", "\"1e99\" is more than 8Pi (2^53 bytes), the largest size that can be counted exactly");
        check(
            "1.0000000000000000001Ki",
            "\"1.0000000000000000001Ki\" has more than 18 digits after the point; use a smaller unit",
        );
    }

    #[test]
    fn a_quota_is_more_than_nothing() {
        assert_eq!(Bytes::parse_quota("1"), Ok(Bytes(1)));
        assert_eq!(Bytes::parse_quota("0Gi"), Err(QuantityError::Zero { text: "0Gi".into() }));
    }

    #[test]
    fn sizes_for_people_have_three_digits() {
        for (bytes, expected) in [
            (0, "0"),
            (999, "999"),
            (1_000, "0.976Ki"),
            (1_024, "1Ki"),
            (1_023_487, "999Ki"),
            (1_023_488, "0.977Mi"),
            (1_073_204_953_088, "0.977Ti"),
            (1_288_490_188, "1.2Gi"),
            (1_320_702_443, "1.23Gi"),
            (10_726_932, "10.2Mi"),
            (104_857_599, "100Mi"),
            (5 << 30, "5Gi"),
            (1 << 53, "8Pi"),
            (u64::MAX, "16Ei"),
        ] {
            assert_eq!(human(bytes), expected, "{bytes}");
        }
    }

    #[test]
    fn percent_reaches_100_only_at_the_limit() {
        assert_eq!(Bytes(999).percent_of(Bytes(1_000)), 99);
        assert_eq!(Bytes(1_000).percent_of(Bytes(1_000)), 100);
        assert_eq!(Bytes::MAX.percent_of(Bytes(1)), i32::MAX);
        assert_eq!(Bytes::saturating(-1), Bytes(0));
    }

    #[test]
    fn a_measured_size_is_never_refused() {
        let check = |measured: i64, expected: i64| assert_eq!(Bytes::saturating(measured).as_i64(), expected);
        check(i64::MIN, 0);
        check(-1, 0);
        check(0, 0);
        check(5 << 30, 5 << 30);
        check(1 << 53, 1 << 53);
        check((1 << 53) + 1, 1 << 53);
        check(i64::MAX, 1 << 53);
    }

    #[test]
    fn a_size_is_a_number_in_json_and_three_digits_for_people() {
        let check = |json: &str, expected: Option<&str>| {
            let found = serde_json::from_str::<Bytes>(json).ok();
            assert_eq!(found.map(|bytes| bytes.to_string()).as_deref(), expected, "{json}");
            assert!(found.is_none_or(|bytes| serde_json::to_string(&bytes).unwrap() == json), "{json}");
        };
        check("1320702443", Some("1.23Gi"));
        check("9007199254740992", Some("8Pi"));
        check("9007199254740993", None);
        check("-1", None);
    }

    #[test]
    fn a_size_is_news_when_it_moved_by_two_percent_and_64_kib() {
        let check = |shown: i64, by: i64, expected: bool| {
            assert_eq!(is_news(shown, shown + by), expected, "{shown} more {by}");
            assert_eq!(is_news(shown, shown - by), expected, "{shown} less {by}");
        };
        check(65_536, 0, false);
        check(65_536, 65_535, false);
        check(65_536, 65_536, true);
        check(3_276_800, 65_535, false);
        check(3_276_800, 65_536, true);
        check(3_276_850, 65_536, false);
        check(3_276_850, 65_537, true);
        check(6_553_600, 131_071, false);
        check(6_553_600, 131_072, true);
    }

    proptest! {
        #[test]
        fn whole_bytes_read_back(count in 0..=Bytes::MAX.0) {
            prop_assert_eq!(count.to_string().parse(), Ok(Bytes(count)));
        }

        #[test]
        fn what_people_read_can_be_written_again(count in 0..=Bytes::MAX.0, shift in 0_u32..53) {
            let count = count >> shift;
            let text = human(count);
            // The top of the range rounds up to exactly 8Pi, never beyond.
            let again = text.parse::<Bytes>().unwrap().get();
            prop_assert!(again.abs_diff(count) <= count / 180 + 1, "{count} {text} {again}");
            let significant = text.chars().filter(char::is_ascii_digit).collect::<String>();
            prop_assert!(significant.trim_start_matches('0').len() <= 3, "{text}");
            prop_assert_eq!(human(again), text);
        }

        #[test]
        fn decimals_are_never_rounded_down(whole in 0_u64..1_000, thousandths in 0_u64..1_000) {
            let text = format!("{whole}.{thousandths:03}Gi");
            let found = text.parse::<Bytes>().unwrap().get();
            let exact = u128::from(whole * 1_000 + thousandths) << 30;
            prop_assert!(u128::from(found) * 1_000 >= exact);
            prop_assert!(u128::from(found) * 1_000 < exact + 1_000);
        }

        #[test]
        fn any_text_is_answered(text in any::<String>(), near in "[+-]?[0-9.]{0,40}[ikKMGTPEem+-]{0,3}[0-9]{0,4}") {
            let _ = (text.parse::<Bytes>(), near.parse::<Bytes>());
        }
    }
}
