//! What a tenant uses, and what of that counts in its quota. Pure.

use crate::{
    api::tenant_schema::{QuotaEstimate, TenantSchemaStatus},
    contract::TenantRow,
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
    let shown_counted = status.quota_estimate.as_ref().and_then(|estimate| estimate.counted_bytes);
    let shown = status.storage_used_bytes.filter(|shown| {
        let former = shown_counted.unwrap_or(*shown);
        status.table_count == Some(tables)
            && over(former) == over(counted)
            && !is_news(*shown, bytes)
            && !is_news(former, counted)
            && shown_counted.is_some() == (freed > 0)
    });
    let (bytes, counted) = shown.map_or((bytes, counted), |shown| (shown, shown_counted.unwrap_or(shown)));
    status.table_count = Some(tables);
    status.storage_used_bytes = Some(bytes);
    status.storage_used = Some(human(bytes.unsigned_abs()));
    status.quota_used_percent = percent(counted);
    status.quota_estimate = quota.filter(|_| freed > 0).map(|_| QuotaEstimate {
        counted_bytes: Some(counted),
        message: Some(format!(
            "{} of the {} are free since rows were deleted, by the number of rows that are left; VACUUM FULL on a table makes its file \
             as small as what is in it",
            human((bytes - counted).unsigned_abs()),
            human(bytes.unsigned_abs())
        )),
    });
}

/// What a status tells that counts in the quota.
pub(super) fn counted(status: &TenantSchemaStatus) -> Option<i64> {
    status.quota_estimate.as_ref().and_then(|estimate| estimate.counted_bytes).or(status.storage_used_bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

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
}
