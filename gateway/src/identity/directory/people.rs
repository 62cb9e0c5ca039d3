//! Who is in the directories that SCIM fills, as of one look at the store; swapped as a whole. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::Value;

use super::entry::forms;
use super::{Added, DirectoryFault, ScimRule, UserName};
use crate::store::directory::PersonRow;
use crate::store::directory_group::{GroupRow, MemberRow};

/// Groups within groups that are followed: deeper ones, and circles, end there.
const NESTED_MAX: usize = 8;

/// Every directory.
#[derive(Debug, Default)]
pub struct People {
    pub(super) revision: Option<u64>,
    by_tenant: HashMap<Box<str>, Directory>,
}

#[derive(Debug, Default)]
struct Directory {
    people: Vec<Person>,
    groups: usize,
    /// Places in `people`, by the forms of names.
    names: HashMap<Box<str>, Vec<usize>>,
}

impl Directory {
    fn is_live(&self, place: usize) -> bool {
        self.people.get(place).is_some_and(|person| person.state != State::Deleted)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Active,
    Inactive,
    Deleted,
}

#[derive(Debug)]
struct Person {
    state: State,
    groups: Arc<BTreeSet<Arc<str>>>,
    facts: Arc<BTreeMap<String, String>>,
}

/// A user that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Names of groups.
    pub groups: Arc<BTreeSet<Arc<str>>>,
    /// Facts by their places.
    pub facts: Arc<BTreeMap<String, String>>,
}

impl Found {
    /// Adds what a rule makes of it.
    pub(super) fn add(&self, rule: &ScimRule, added: &mut Added) {
        let roles = self.groups.iter().filter_map(|group| rule.roles.get(&**group));
        added.roles.extend(roles.map(|role| Arc::from(role.as_str())));
        for (name, fact) in &rule.attributes {
            if let Some(text) = self.facts.get(fact) {
                added.attributes.entry(name.clone()).or_insert_with(|| text.clone());
            }
        }
    }
}

impl People {
    /// Takes the rows. A user whose row can't be read is there and inactive: nobody is served by a broken row.
    pub fn new(revision: u64, people: Vec<PersonRow>, groups: &[GroupRow], members: &[MemberRow]) -> Self {
        let belong = Belong::new(groups, members);
        let mut by_tenant: HashMap<Box<str>, Directory> = HashMap::new();
        for group in groups {
            let directory = by_tenant.entry(group.tenant.as_str().into()).or_default();
            directory.groups = directory.groups.saturating_add(1);
        }
        for row in people {
            let names: Option<Vec<String>> = serde_json::from_str(&row.names).ok();
            let facts: Option<BTreeMap<String, String>> = serde_json::from_str(&row.facts).ok();
            let state = match (row.deleted, row.active && names.is_some() && facts.is_some()) {
                (true, _) => State::Deleted,
                (false, true) => State::Active,
                (false, false) => State::Inactive,
            };
            let groups = Arc::new(belong.of(&row.tenant, &row.id));
            let directory = by_tenant.entry(row.tenant.into()).or_default();
            let place = directory.people.len();
            for name in names.into_iter().flatten() {
                directory.names.entry(name.into()).or_default().push(place);
            }
            directory.people.push(Person { state, groups, facts: Arc::new(facts.unwrap_or_default()) });
        }
        Self { revision: Some(revision), by_tenant }
    }

    /// Users that are not deleted, and groups.
    pub(super) fn counts(&self, tenant: &str) -> (usize, usize) {
        let Some(directory) = self.by_tenant.get(tenant) else { return (0, 0) };
        let users = directory.people.iter().filter(|person| person.state != State::Deleted);
        (users.count(), directory.groups)
    }

    /// The user of these names.
    ///
    /// # Errors
    /// [`DirectoryFault::Inactive`] and [`DirectoryFault::Ambiguous`]: several users together are nobody.
    pub fn find(&self, tenant: &str, user: &[UserName]) -> Result<Option<Found>, DirectoryFault> {
        let Some(directory) = self.by_tenant.get(tenant) else { return Ok(None) };
        let mut found: Vec<&Person> = Vec::new();
        let mut places: BTreeSet<usize> = BTreeSet::new();
        for name in user {
            // The first form that somebody has counts, a whole name before a part of one; of those who were deleted
            // only where nobody else has any.
            let hits: Vec<_> = forms(name).iter().filter_map(|form| directory.names.get(form.as_str())).collect();
            let is_live = |hit: &&&Vec<usize>| hit.iter().any(|place| directory.is_live(*place));
            places.extend(hits.iter().find(is_live).or(hits.first()).copied().into_iter().flatten());
        }
        found.extend(places.iter().filter_map(|place| directory.people.get(*place)));
        // Somebody new may have the name of one who was deleted.
        if found.iter().any(|person| person.state != State::Deleted) {
            found.retain(|person| person.state != State::Deleted);
        }
        match found.as_slice() {
            [] => Ok(None),
            all if all.iter().any(|person| person.state != State::Active) => Err(DirectoryFault::Inactive),
            [one] => Ok(Some(Found { groups: Arc::clone(&one.groups), facts: Arc::clone(&one.facts) })),
            [..] => Err(DirectoryFault::Ambiguous),
        }
    }
}

/// Who belongs where.
struct Belong<'a> {
    /// Names of groups, by tenant and id.
    names: HashMap<(&'a str, &'a str), Arc<str>>,
    /// Groups by tenant and member.
    parents: HashMap<(&'a str, &'a str), Vec<&'a str>>,
}

impl<'a> Belong<'a> {
    fn new(groups: &'a [GroupRow], members: &'a [MemberRow]) -> Self {
        let name = |group: &'a GroupRow| {
            let document: Value = serde_json::from_str(&group.document).ok()?;
            Some(((&*group.tenant, &*group.id), document.get("displayName")?.as_str()?.into()))
        };
        let mut parents: HashMap<(&str, &str), Vec<&str>> = HashMap::new();
        for member in members {
            parents.entry((&member.tenant, &member.member)).or_default().push(&member.parent);
        }
        Self { names: groups.iter().filter_map(name).collect(), parents }
    }

    /// Names of the groups of a user, those of its groups included.
    fn of(&self, tenant: &'a str, id: &'a str) -> BTreeSet<Arc<str>> {
        let mut all: BTreeSet<&str> = BTreeSet::new();
        let mut outer: Vec<&str> = vec![id];
        for _ in 0..NESTED_MAX {
            let parents = outer.iter().filter_map(|one| self.parents.get(&(tenant, *one))).flatten();
            outer = parents.copied().filter(|group| all.insert(group)).collect();
        }
        all.into_iter().filter_map(|group| self.names.get(&(tenant, group)).cloned()).collect()
    }
}
