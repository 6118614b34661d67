//! What a tenant uses, and what of that counts in its quota. Pure.

use crate::{
    api::tenant_schema::{QuotaEstimate, TenantSchemaStatus},
    contract::{LargeObjects, LargeObjectsHow, TenantRow},
    quantity::{Bytes, human, is_news},
};

/// Puts what is used into a status. What was shown stays unless the difference is news: other tables, a threshold crossed, or enough
/// bytes.
pub(super) fn usage(
    status: &mut TenantSchemaStatus,
    row: Option<&TenantRow>,
    quota: Option<Bytes>,
    warning_percent: i32,
) {
    let measured = row.and_then(|row| row.measured.as_ref());
    let bytes = row.map(TenantRow::used_bytes).unwrap_or_default();
    let freed = row.map(TenantRow::uncounted_bytes).unwrap_or_default();
    let tables = measured.map(|now| now.table_count).or(row.map(|row| row.table_count)).unwrap_or_default();
    let percent = |bytes: i64| quota.map(|limit| Bytes::saturating(bytes).percent_of(limit));
    let over = |bytes: i64| percent(bytes).map(|percent| (percent >= warning_percent, percent >= 100));
    let counted = bytes - freed;
    let large = row.and_then(|row| row.large_objects.as_deref()).filter(|large| large.how != LargeObjectsHow::Exact);
    let is_estimate = large.is_some() || quota.is_some() && freed > 0;
    let shown_counted = status.quota_estimate.as_ref().and_then(|estimate| estimate.counted_bytes);
    let shown = status.storage_used_bytes.filter(|shown| {
        let former = shown_counted.unwrap_or(*shown);
        status.table_count == Some(tables)
            && over(former) == over(counted)
            && !is_news(*shown, bytes)
            && !is_news(former, counted)
            && shown_counted.is_some() == is_estimate
    });
    let former = status.quota_estimate.take().filter(|_| shown.is_some()).and_then(|estimate| estimate.message);
    let (bytes, counted) = shown.map_or((bytes, counted), |shown| (shown, shown_counted.unwrap_or(shown)));
    status.table_count = Some(tables);
    status.storage_used_bytes = Some(bytes);
    status.storage_used = Some(human(bytes.unsigned_abs()));
    status.quota_used_percent = percent(counted);
    status.quota_estimate = is_estimate.then(|| QuotaEstimate {
        counted_bytes: Some(counted),
        message: Some(match (former, large) {
            // The same, but for bytes that are no news.
            (Some(former), Some(large)) if (freed > 0) == former.contains(FREED) && large.is_told_by(&former) => former,
            _ => estimates(bytes, counted, large),
        }),
    });
}

/// How what deletes left free is called.
const FREED: &str = "are free since rows were deleted";

/// What is estimated, for people.
fn estimates(bytes: i64, counted: i64, large: Option<&LargeObjects>) -> String {
    let freed = (counted < bytes).then(|| {
        format!(
            "{} of the {} {FREED}, by the number of rows that are left; VACUUM FULL on a table makes its file as small as what is in it",
            human((bytes - counted).unsigned_abs()),
            human(bytes.unsigned_abs())
        )
    });
    freed.into_iter().chain(large.map(LargeObjects::to_string)).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn row(bytes: i64, freed: Option<i64>) -> TenantRow {
        from_value(json!({
            "schema_id": uuid::Uuid::nil(), "institution_id": null, "schema_name": "school", "status": "active", "access": "ReadWrite",
            "taken_over": false, "owner": null, "config": {}, "quota_limit": null, "schema_exists": true, "drift": [],
            "storage_bytes": bytes, "freed_bytes": freed, "table_count": 1, "usage_stale": false, "last_backup": null,
            "last_operation": null, "jobs": [], "recreations": 0,
        }))
        .unwrap()
    }

    #[test]
    fn what_deletes_left_free_does_not_count_and_is_told_as_an_estimate() {
        const MIB: i64 = 1 << 20;
        let mut status = TenantSchemaStatus::default();
        let quota = Bytes::parse_quota("100Mi").ok();
        // `(bytes, freed, shown, percent, counted)`
        for (bytes, freed, shown, percent, counted) in [
            (101 * MIB, None, 101 * MIB, 101, None),
            (101 * MIB, Some(40 * MIB), 101 * MIB, 61, Some(61 * MIB)),
            // No news.
            (101 * MIB + 1, Some(40 * MIB), 101 * MIB, 61, Some(61 * MIB)),
            (101 * MIB, Some(20 * MIB), 101 * MIB, 81, Some(81 * MIB)),
            (60 * MIB, None, 60 * MIB, 60, None),
        ] {
            usage(&mut status, Some(&row(bytes, freed)), quota, 80);
            let told = status.quota_estimate.as_ref();
            assert_eq!(
                (status.storage_used_bytes, status.quota_used_percent, told.and_then(|told| told.counted_bytes)),
                (Some(shown), Some(percent), counted)
            );
            if let Some(message) = told.and_then(|told| told.message.as_ref()) {
                assert!(message.contains("free since rows were deleted"), "{message}");
            }
        }
        usage(&mut status, Some(&row(60 * MIB, Some(MIB))), None, 80);
        assert!(status.quota_estimate.is_none(), "without a quota nothing counts");
    }

    #[test]
    fn large_objects_are_used_and_an_estimate_says_so_in_words_that_stay() {
        const MIB: i64 = 1 << 20;
        let mut status = TenantSchemaStatus::default();
        let quota = Bytes::parse_quota("100Mi").ok();
        let mut tell = |large: Value| {
            let mut row = row(10 * MIB, None);
            row.large_objects = from_value(large).unwrap();
            usage(&mut status, Some(&row), quota, 80);
            let message = status.quota_estimate.as_ref().and_then(|told| told.message.clone());
            (status.storage_used_bytes.unwrap() / MIB, status.quota_used_percent.unwrap(), message.unwrap_or_default())
        };
        let share = |bytes: i64| {
            let statement = "GRANT SELECT ON pg_catalog.pg_largeobject TO o";
            json!({ "count": 3, "bytes": bytes, "least": 540, "how": "share", "statement": statement })
        };
        let (used, percent, message) = tell(share(50 * MIB));
        assert_eq!((used, percent), (60, 60));
        assert_eq!(
            message,
            "50Mi are 3 large objects, estimated by their number among all of the database, which is not certain, so that a block counts \
             only 540 of it; for exact figures, as a superuser, in this database: GRANT SELECT ON pg_catalog.pg_largeobject TO o"
        );
        assert_eq!(tell(share(50 * MIB + 1)).2, message, "no news");
        assert!(tell(share(80 * MIB)).2.starts_with("80Mi are"));
        let (.., message) = tell(json!({ "count": 3, "bytes": 80 * MIB, "least": 80 * MIB, "how": "sampled" }));
        assert_eq!(message, "80Mi are 3 large objects, estimated by a sample");
        let exact = json!({ "count": 3, "bytes": 80 * MIB, "least": 80 * MIB, "how": "exact" });
        assert_eq!(tell(exact), (90, 90, String::new()));
        assert_eq!(tell(Value::Null), (10, 10, String::new()));
    }
}
