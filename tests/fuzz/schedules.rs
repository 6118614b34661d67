//! Fields of cron and names of time zones, as a user of a namespace writes them.

use jiff::Timestamp;
use proptest::prelude::*;
use tenant_schema_operator::api::schedule::Schedule;

/// Fields that are nearly right.
fn fields() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "*",
        "0",
        "7",
        "31",
        "59",
        "60",
        "mon",
        "JAN",
        "L",
        "1W",
        "5#2",
        "",
        "-1",
        "99999999999999999999",
    ]);
    let field = prop::collection::vec((part, prop::sample::select(vec!["", ",", "-", "/"])), 1..4)
        .prop_map(|parts| parts.iter().flat_map(|(part, sign)| [*part, *sign]).collect::<String>());
    prop::collection::vec(field, 5).prop_map(|fields| fields.join(" "))
}

proptest! {
    #[test]
    fn any_text_is_a_schedule_or_an_error(cron in "\\PC{0,40}", zone in "\\PC{0,20}") {
        let _ = Schedule::new(&cron, &zone);
        let _ = Schedule::new(&cron, "UTC");
    }

    #[test]
    fn what_is_a_schedule_has_a_next_time(cron in fields(), after in -2_000_000_000_i64..4_000_000_000) {
        if let Ok(schedule) = Schedule::new(&cron, "America/St_Johns") {
            let after = Timestamp::from_second(after).unwrap();
            prop_assert!(schedule.next(after).is_none_or(|next| next > after), "{cron}");
        }
    }
}
