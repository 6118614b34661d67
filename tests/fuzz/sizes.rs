//! Quantities.

use proptest::{prelude::*, sample::select};
use tenant_schema_operator::quantity::{Bytes, QuantityError, human};

const UNITS: [(&str, u128); 13] = [
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

/// The number as it is written and what it stands for, in parts of which a byte has `10^9`.
fn written() -> impl Strategy<Value = (String, u128)> {
    let unit = prop_oneof![
        select(UNITS.to_vec()).prop_map(|(suffix, unit)| (suffix.to_owned(), unit)),
        (0..=18_u32, select(vec!["e", "E", "e+"]))
            .prop_map(|(exponent, e)| (format!("{e}{exponent}"), 10_u128.pow(exponent))),
    ];
    let fraction = prop_oneof![Just(None), (0..1_000_000_000_u128).prop_map(Some)];
    (0..10_000_000_000_u64, 0..34_u32, fraction, unit, select(vec!["", "+", "00"])).prop_map(
        |(whole, shift, fraction, (suffix, unit), before)| {
            let whole = whole >> shift;
            let point = fraction.map_or_else(String::new, |fraction| format!(".{fraction:09}"));
            let parts = (u128::from(whole) * 1_000_000_000 + fraction.unwrap_or(0)) * unit;
            (format!("{before}{whole}{point}{suffix}"), parts)
        },
    )
}

proptest! {
    #[test]
    fn a_size_is_what_exact_arithmetic_says_rounded_up((text, parts) in written()) {
        let exact = parts.div_ceil(1_000_000_000);
        match text.parse::<Bytes>() {
            Ok(bytes) => prop_assert_eq!(u128::from(bytes.get()), exact, "{}", text),
            Err(QuantityError::TooLarge { .. }) => prop_assert!(exact > u128::from(Bytes::MAX.get()), "{}", text),
            Err(error) => prop_assert!(false, "{}", error),
        }
        prop_assert_eq!(Bytes::parse_quota(&text).is_ok(), exact > 0 && exact <= u128::from(Bytes::MAX.get()));
    }

    #[test]
    fn any_text_is_answered_in_one_line(
        any in any::<String>(),
        near in "[+-]?[0-9.]{0,45}[ikKMGTPEemun +-]{0,3}[0-9]{0,12}",
        ((good, _), change, at) in (written(), any::<char>(), any::<prop::sample::Index>()),
    ) {
        let mut characters: Vec<char> = good.chars().collect();
        let at = at.index(characters.len());
        characters[at] = change;
        for text in [any, near, characters.into_iter().collect()] {
            match text.parse::<Bytes>() {
                Ok(bytes) => prop_assert!(bytes <= Bytes::MAX),
                Err(error) => prop_assert!(!error.to_string().contains(char::is_control), "{error}"),
            }
        }
    }

    #[test]
    fn what_is_printed_is_read_as_what_prints_the_same(count in any::<u64>(), shift in 0..64_u32) {
        let bytes = Bytes::new(count >> shift);
        prop_assert_eq!(bytes.is_some(), count >> shift <= Bytes::MAX.get());
        let _ = human(count >> shift);
        if let Some(bytes) = bytes {
            let printed = bytes.to_string();
            prop_assert_eq!(printed.parse::<Bytes>().unwrap().to_string(), printed);
            let json = serde_json::to_string(&bytes).unwrap();
            prop_assert_eq!(serde_json::from_str::<Bytes>(&json).unwrap(), bytes);
            prop_assert!(bytes.percent_of(bytes) == 100 || bytes.get() == 0);
        }
    }

    #[test]
    fn json_is_refused_where_a_text_would_be(number in any::<i128>(), shift in 0..127_u32) {
        let number = number >> shift;
        let fits = (0..=i128::from(Bytes::MAX.get())).contains(&number);
        prop_assert_eq!(serde_json::from_str::<Bytes>(&number.to_string()).is_ok(), fits, "{}", number);
    }
}
