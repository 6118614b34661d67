//! The property, and where it is looked at: in the database as superuser, and at the API server.

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt;
use serde::Deserialize;
use tenant_schema_operator::api::TenantSchema;

use super::model::Model;
use crate::world::{World, condition};

/// A function that says which rows of which lives a schema has. It stays where no tenant is.
pub const ROWS_IN: &str = "CREATE FUNCTION public.rows_in(schema text) RETURNS jsonb LANGUAGE plpgsql AS $f$
DECLARE answer jsonb;
BEGIN
    EXECUTE format('SELECT coalesce(jsonb_object_agg(life, marks), ''{}'')
                    FROM (SELECT life, jsonb_agg(mark) AS marks FROM %I.marks GROUP BY life) AS l', schema) INTO answer;
    RETURN answer;
END $f$";

/// Every schema that has rows, and what the registry and the catalogue say that it is.
const FOUND: &str = "SELECT coalesce(json_agg(json_build_object(
    'schema', n.nspname, 'owner_uid', t.owner_uid, 'rows', public.rows_in(n.nspname),
    'ids', (SELECT coalesce(json_agg(i), '[]') FROM unnest(ARRAY[t.id, b.id, b.schema_id]) AS i WHERE i IS NOT NULL),
    'is', CASE WHEN t.status IN ('active', 'suspended') THEN 'living' WHEN t.status IS NOT NULL THEN t.status
               WHEN b.method = 'Snapshot' THEN 'copy' WHEN b.state = 'complete' THEN 'aside' ELSE coalesce(b.state, 'unknown') END)), '[]')
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN edu_matrix_hub_schema.tenant_schemas AS t ON t.schema_name = n.nspname AND t.status <> 'dropped'
LEFT JOIN edu_matrix_hub_schema.schema_backups AS b ON b.location = n.nspname AND b.state IN ('complete', 'purging')
WHERE c.relname = 'marks'";

/// The schemas that are there, and whose they are: the UID of an object.
const LIVING: &str = "SELECT t.schema_name, t.owner_uid FROM edu_matrix_hub_schema.tenant_schemas AS t \
                      JOIN pg_namespace AS n ON n.nspname = t.schema_name WHERE t.status IN ('active', 'suspended')";

/// A schema with rows.
#[derive(Debug, Deserialize)]
pub struct Found {
    schema: String,
    /// `living`, `released`, `dropping`, `aside` (set aside, complete), `copy` (a snapshot), `purging`, or `unknown`.
    is: String,
    owner_uid: Option<String>,
    ids: Vec<String>,
    rows: BTreeMap<u64, BTreeSet<u64>>,
}

/// Looks at all schemas that have rows; nothing if the database cannot be asked, or if one was renamed meanwhile.
pub fn look(world: &World) -> Option<Vec<Found>> {
    let text = world.postgres.psql(&world.database, FOUND).ok()?;
    let found: Vec<Found> = serde_json::from_str(&text).unwrap();
    Some(found.into_iter().filter(|found| found.is != "copy").collect())
}

/// How the property is broken, one line each. Lives that may go are forgotten when they go.
pub fn broken(model: &mut Model, found: &[Found]) -> Vec<String> {
    let mut broken = Vec::new();
    for place in found {
        let lives: Vec<_> = place.rows.keys().collect();
        if lives.len() > 1 {
            broken.push(format!("rows of lives {lives:?} are mixed in {}", place.says()));
        }
    }
    for number in model.lives.keys().copied().collect::<Vec<_>>() {
        let places: Vec<_> = found.iter().filter(|place| place.rows.contains_key(&number)).collect();
        let names: Vec<_> = places.iter().map(|place| place.says()).collect();
        let names = if names.is_empty() { "nowhere".to_owned() } else { names.join(" and ") };
        let may_go = model.may_go(number);
        let life = model.lives.get_mut(&number).expect("a known life");
        let of = format!("life {number} of {} ({})", life.schema, joined(&life.owners));
        match places[..] {
            // It is gone, or goes, in parts.
            [] if may_go => drop(model.lives.remove(&number)),
            [place] if may_go && place.is == "purging" => drop(model.lives.remove(&number)),
            [place] => {
                life.ids.extend(place.ids.iter().cloned());
                let missing: Vec<_> = life.rows.difference(&place.rows[&number]).collect();
                if !missing.is_empty() {
                    broken.push(format!("{of} is in {names} without its rows {missing:?}"));
                }
                if place.is == "unknown" || place.is == "purging" {
                    broken.push(format!("{of} is in {names}: nothing in the catalogue keeps it"));
                }
                let holder = place.owner_uid.as_ref().filter(|_| place.is == "living");
                let holder = holder.map(|uid| (uid, model.place_of(uid).cloned()));
                match holder {
                    Some((_, Some(holder))) if model.belongs_to(&model.lives[&number], &holder) => {
                        model.lives.entry(number).and_modify(|life| life.owners.extend([holder]));
                    }
                    Some((uid, holder)) => {
                        let whose = holder.map_or_else(|| uid.clone(), |holder| holder.to_string());
                        broken.push(format!("{of} is in {names}, which was given to {whose}"));
                    }
                    None => {}
                }
            }
            _ => broken.push(format!("{of} is whole in no one place: {names}")),
        }
    }
    broken
}

impl Found {
    fn says(&self) -> String {
        format!("{} ({})", self.schema, self.is)
    }
}

fn joined(all: impl IntoIterator<Item = impl ToString>) -> String {
    all.into_iter().map(|one| one.to_string()).collect::<Vec<_>>().join(", ")
}

/// Which of these objects say Ready of what is not there, or is not theirs, or is empty although its rows are elsewhere.
pub fn untrue(world: &World, model: &Model, tenants: &[TenantSchema]) -> Vec<String> {
    let (Some(found), Ok(living)) = (look(world), world.postgres.psql(&world.database, LIVING)) else {
        return vec!["the database cannot be asked".to_owned()];
    };
    let ready = |tenant: &&TenantSchema| {
        tenant.metadata.deletion_timestamp.is_none()
            && condition(*tenant, "Ready").is_some_and(|(status, ..)| status == "True")
    };
    let mut untrue = Vec::new();
    for tenant in tenants.iter().filter(ready) {
        let (uid, schema) = (tenant.uid().unwrap(), tenant.spec.schema_name.clone().unwrap_or_default());
        let who = format!("{}/{} ({uid})", tenant.namespace().unwrap(), tenant.name_any());
        if !living.lines().any(|line| line == format!("{schema}|{uid}")) {
            let row = living.lines().find(|line| line.starts_with(&format!("{schema}|"))).unwrap_or("nothing");
            untrue.push(format!("{who} says Ready, and the registry has {row}"));
        }
        let missed = model.lives.iter().filter(|(_, life)| life.schema == schema && !model.is_replaced(life));
        for (number, _) in missed {
            for elsewhere in found.iter().filter(|place| place.rows.contains_key(number) && place.schema != schema) {
                untrue.push(format!("{who} says Ready, and life {number} of {schema} is in {}", elsewhere.says()));
            }
        }
    }
    untrue
}
