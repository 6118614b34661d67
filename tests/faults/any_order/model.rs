//! What the test knows: which rows were acknowledged, whose they are, and what people confirmed. It knows nothing of how an
//! operator decides.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use tenant_schema_operator::api::{CONFIRM_DROP, RECREATE};

/// Where an object stands. A namespace that is made again is another one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub namespace: String,
    pub namespace_uid: String,
    pub name: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, namespace_uid, name } = self;
        write!(f, "{namespace}({namespace_uid:.4})/{name}")
    }
}

/// The data that began with the first row in an empty schema. Each of its rows has its number.
#[derive(Clone, Debug)]
pub struct Life {
    pub schema: String,
    /// Where the objects stand that may have it.
    pub owners: BTreeSet<Place>,
    /// The rows that were acknowledged.
    pub rows: BTreeSet<u64>,
    /// The ids by which the registry and the catalogue called it.
    pub ids: BTreeSet<String>,
    /// It may go: this was so before etcd went back, and an operator may have acted on it since.
    pub given_up: bool,
}

/// An object of which the API server told once.
#[derive(Clone, Debug)]
struct Object {
    place: Place,
    /// The values of its annotation `confirm-drop` that named the time of its deletion.
    confirmed: BTreeSet<String>,
    deleted: bool,
}

/// The objects, by UID.
#[derive(Clone, Debug, Default)]
pub struct Objects(BTreeMap<String, Object>);

/// All of it.
#[derive(Default)]
pub struct Model {
    pub lives: BTreeMap<u64, Life>,
    objects: Objects,
    /// The values of all annotations `recreate`: what these name is not missed.
    replaced: BTreeSet<String>,
    /// Whose first row was sent. The answer may have been lost.
    begun: BTreeMap<u64, (String, Place)>,
    /// Which schema the platform team gave from one object to another, by namespace and name.
    given: Vec<(String, [(String, String); 2])>,
}

impl Model {
    /// The API server told of an object.
    pub fn saw(&mut self, uid: &str, place: &Place) {
        let object = || Object { place: place.clone(), confirmed: BTreeSet::new(), deleted: false };
        self.objects.0.entry(uid.to_owned()).or_insert_with(object);
    }

    /// A person asked for the deletion of an object.
    pub fn deletes(&mut self, uid: &str) {
        if let Some(object) = self.objects.0.get_mut(uid) {
            object.deleted = true;
        }
    }

    /// A person asked for the deletion of a whole namespace.
    pub fn deletes_namespace(&mut self, uid: &str) {
        self.objects
            .0
            .values_mut()
            .filter(|object| object.place.namespace_uid == uid)
            .for_each(|object| object.deleted = true);
    }

    /// An object that was deleted at this time, if it was, has these annotations. What is said before a deletion confirms none.
    pub fn annotated(&mut self, uid: &str, annotations: &BTreeMap<String, String>, deleted_at: Option<&str>) {
        self.replaced.extend(annotations.get(RECREATE).cloned());
        if let (Some(object), Some(deleted_at)) = (self.objects.0.get_mut(uid), deleted_at) {
            let said_of_it = |value: &&String| value.ends_with(&format!(".{deleted_at}"));
            object.confirmed.extend(annotations.get(CONFIRM_DROP).filter(said_of_it).cloned());
        }
    }

    /// The platform team gave a schema from one object to another. What was given once may have been taken since.
    pub fn gives(&mut self, schema: &str, from: (String, String), to: (String, String)) {
        self.given.push((schema.to_owned(), [from, to]));
    }

    /// The platform team confirmed that the next object of the same name gets what was set aside, in any namespace of
    /// the same name.
    pub fn brings_back(&mut self) {
        let named = |place: &Place| (place.namespace.clone(), place.name.clone());
        let owned =
            self.lives.values().flat_map(|life| life.owners.iter().map(|owner| (life.schema.clone(), named(owner))));
        self.given.extend(owned.map(|(schema, name)| (schema, [name.clone(), name])));
    }

    /// Whether a life is that of an object in this place, or was given to it.
    pub fn belongs_to(&self, life: &Life, place: &Place) -> bool {
        let named = |place: &Place| (place.namespace.clone(), place.name.clone());
        life.owners.contains(place)
            || self.given.iter().any(|(schema, [from, to])| {
                *schema == life.schema && named(place) == *to && life.owners.iter().any(|owner| named(owner) == *from)
            })
    }

    /// Where the object of this UID stands, or stood.
    pub fn place_of(&self, uid: &str) -> Option<&Place> {
        self.objects.0.get(uid).map(|object| &object.place)
    }

    /// The first row of a life is about to be sent.
    pub fn begins(&mut self, life: u64, schema: &str, place: &Place) {
        self.begun.insert(life, (schema.to_owned(), place.clone()));
    }

    /// A row was acknowledged, and the life that it became part of.
    pub fn acknowledged(&mut self, life: u64, row: u64) {
        let (schema, place) = self.begun[&life].clone();
        let begin = || Life {
            schema,
            owners: BTreeSet::from([place]),
            rows: BTreeSet::new(),
            ids: BTreeSet::new(),
            given_up: false,
        };
        self.lives.entry(life).or_insert_with(begin).rows.insert(row);
    }

    /// What has to be remembered of the database at the moment of a copy.
    pub fn of_database(&self) -> BTreeMap<u64, Life> {
        self.lives.clone()
    }

    /// The database went back.
    pub fn database_went_back(&mut self, lives: BTreeMap<u64, Life>) {
        self.lives = lives;
    }

    /// What has to be remembered of the objects at the moment of a snapshot.
    pub fn of_cluster(&self) -> Objects {
        self.objects.clone()
    }

    /// etcd went back. What was asked for since then was never asked for, but may have been done by now.
    pub fn cluster_went_back(&mut self, then: &Objects) {
        let given_up: Vec<_> = self.lives.keys().copied().filter(|life| self.may_go(*life)).collect();
        for (uid, object) in &mut self.objects.0 {
            let former = then.0.get(uid);
            object.confirmed = former.map(|former| former.confirmed.clone()).unwrap_or_default();
            object.deleted = former.is_some_and(|former| former.deleted);
        }
        for life in given_up {
            self.lives.entry(life).and_modify(|life| life.given_up = true);
        }
    }

    /// Everything that was under way has come to its end.
    pub fn is_calm(&mut self) {
        self.lives.values_mut().for_each(|life| life.given_up = false);
    }

    /// A person confirmed that exactly this life may be dropped, of an object that had it and was really deleted.
    pub fn may_go(&self, life: u64) -> bool {
        let life = &self.lives[&life];
        let owned = |object: &Object| object.deleted && self.belongs_to(life, &object.place);
        let confirms = |object: &Object| owned(object) && object.confirmed.iter().any(|value| value_names(value, life));
        life.given_up || self.objects.0.values().any(confirms)
    }

    /// A person confirmed that this life is not in its place.
    pub fn is_replaced(&self, life: &Life) -> bool {
        self.replaced.iter().any(|value| value_names(value, life))
    }
}

/// Whether the value of an annotation names this life: its schema, and one of its ids.
fn value_names(value: &str, life: &Life) -> bool {
    match value.split_once('@') {
        // Behind a point there is the time of a deletion.
        Some((schema, id)) => schema == life.schema && life.ids.contains(id.split('.').next().unwrap_or_default()),
        None => false,
    }
}
