//! Many resources: lists, filters, pages (RFC 7644, sections 3.4.2 and 3.4.3).

use std::collections::HashMap;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::door::Door;
use super::resources::{Body, complete, failed, read};
use super::{Scim, Type};
use crate::identity::scim::filter::{Filter, folded};
use crate::identity::scim::place::Scope;
use crate::identity::scim::resource::Document;
use crate::identity::scim::shown::Shown;
use crate::identity::scim::{Kind, ScimFault};
use crate::running::Running;
use crate::store::directory::{Pick, ResourceRow};

/// Resources of one page.
pub(super) const PAGE_MAX: u64 = 200;
/// Resources of a page whose length nobody asked for.
const PAGE: u64 = 100;
/// Resources that one filter is held against: a filter that an index can't help is answered up to here.
const SCAN_MAX: u64 = 20_000;

/// What is searched for.
#[derive(Debug, Default)]
struct Wish {
    filter: Option<String>,
    /// From 1.
    start: u64,
    count: u64,
    shown: Shown,
}

/// A list as the protocol writes it.
pub(super) fn found(total: usize, start: u64, resources: Vec<Value>) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
        "totalResults": total, "startIndex": start, "itemsPerPage": resources.len(), "Resources": resources,
    })
}

fn names(text: &str) -> Vec<String> {
    text.split(',').map(|name| name.trim().to_owned()).collect()
}

/// What the parameters of an address want to see.
pub(super) fn shown_by(parameters: &HashMap<String, String>) -> Shown {
    let list = |name: &str| parameters.get(name).map(|text| names(text));
    Shown::new(list("attributes"), list("excludedAttributes"))
}

/// A number as clients give it: below the least it counts as the least.
fn number(value: Option<i64>, usual: u64, least: u64) -> u64 {
    value.map_or(usual, |number| u64::try_from(number).unwrap_or(0).max(least))
}

impl Wish {
    fn of_parameters(parameters: &HashMap<String, String>) -> Result<Self, ScimFault> {
        let whole = |name: &str| {
            let number = parameters.get(name).map(|text| text.parse::<i64>()).transpose();
            number.map_err(|_| ScimFault::new(Kind::InvalidValue, format!("`{name}` must be a whole number")))
        };
        Ok(Self {
            filter: parameters.get("filter").cloned(),
            start: number(whole("startIndex")?, 1, 1),
            count: number(whole("count")?, PAGE, 0).min(PAGE_MAX),
            shown: shown_by(parameters),
        })
    }

    fn of_body(body: &Value) -> Result<Self, ScimFault> {
        let wrong = |name: &str| ScimFault::new(Kind::InvalidValue, format!("`{name}` is of another type"));
        let whole = |name: &str| match body.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value.as_i64().map(Some).ok_or_else(|| wrong(name)),
        };
        let list = |name: &str| match body.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                let texts = value.as_array().ok_or_else(|| wrong(name))?;
                Ok(Some(texts.iter().filter_map(Value::as_str).map(str::to_owned).collect()))
            }
        };
        let filter = match body.get("filter") {
            None | Some(Value::Null) => None,
            Some(value) => Some(value.as_str().ok_or_else(|| wrong("filter"))?.to_owned()),
        };
        Ok(Self {
            filter,
            start: number(whole("startIndex")?, 1, 1),
            count: number(whole("count")?, PAGE, 0).min(PAGE_MAX),
            shown: Shown::new(list("attributes")?, list("excludedAttributes")?),
        })
    }
}

pub(super) async fn list(
    of: Type,
    State(running): State<Arc<Running>>,
    Extension(door): Extension<Door>,
    Query(parameters): Query<HashMap<String, String>>,
) -> Result<Scim, ScimFault> {
    of_one_type(of, &running, &door, &Wish::of_parameters(&parameters)?).await
}

pub(super) async fn posted(
    of: Type,
    State(running): State<Arc<Running>>,
    Extension(door): Extension<Door>,
    body: Body,
) -> Result<Scim, ScimFault> {
    of_one_type(of, &running, &door, &Wish::of_body(&read(body)?)?).await
}

/// Searches users and groups; a filter that means nothing for one of them finds none of it.
pub(super) async fn everything(
    State(running): State<Arc<Running>>,
    Extension(door): Extension<Door>,
    body: Body,
) -> Result<Scim, ScimFault> {
    let wish = Wish::of_body(&read(body)?)?;
    let (mut all, mut faults) = (Vec::new(), Vec::new());
    for of in Type::ALL {
        match filter(of, &wish) {
            Ok(filter) => {
                let hits = scan(of, &running, &door, filter.as_ref()).await?;
                all.extend(hits.into_iter().map(|hit| (of, hit)));
            }
            Err(fault) => faults.push(fault),
        }
    }
    if let (Some(fault), true) = (faults.pop(), faults.len() == Type::ALL.len().saturating_sub(1)) {
        return Err(fault);
    }
    Ok(page(all, &wish))
}

fn filter(of: Type, wish: &Wish) -> Result<Option<Filter>, ScimFault> {
    wish.filter.as_deref().map(|text| Filter::parse(Scope::Whole(of), text)).transpose()
}

fn page(all: Vec<(Type, Document)>, wish: &Wish) -> Scim {
    let total = all.len();
    let (from, count) = (wish.start.saturating_sub(1), wish.count);
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let some = all.into_iter().skip(size(from)).take(size(count));
    let some = some.map(|(of, whole)| Value::Object(wish.shown.of(of, whole))).collect();
    Scim(StatusCode::OK, found(total, wish.start, some))
}

async fn of_one_type(of: Type, running: &Running, door: &Door, wish: &Wish) -> Result<Scim, ScimFault> {
    if let Some(filter) = filter(of, wish)? {
        let hits = scan(of, running, door, Some(&filter)).await?;
        return Ok(page(hits.into_iter().map(|hit| (of, hit)).collect(), wish));
    }
    let tenant = door.rule.tenant.as_str();
    let total = match of {
        Type::User => running.store.users_count(tenant, &Pick::All).await,
        Type::Group => running.store.groups_count(tenant, &Pick::All).await,
    };
    let rows = rows(of, running, tenant, &Pick::All, (wish.start.saturating_sub(1), wish.count)).await?;
    let mut some = Vec::with_capacity(rows.len());
    for row in rows {
        let whole = complete(of, &running.store, door, &row).await?;
        some.push(Value::Object(wish.shown.of(of, whole)));
    }
    let total = usize::try_from(total.map_err(failed)?).unwrap_or(usize::MAX);
    Ok(Scim(StatusCode::OK, found(total, wish.start, some)))
}

async fn rows(
    of: Type,
    running: &Running,
    tenant: &str,
    pick: &Pick,
    page: (u64, u64),
) -> Result<Vec<ResourceRow>, ScimFault> {
    let rows = match of {
        Type::User => running.store.users_list(tenant, pick, page).await,
        Type::Group => running.store.groups_list(tenant, pick, page).await,
    };
    rows.map_err(failed)
}

/// What an index can find of a filter; the rest of the filter is held against what it found.
fn pick(of: Type, filter: Option<&Filter>) -> Pick {
    let must_be = |name: &str| filter.and_then(|filter| filter.must_be(name));
    let name = match of {
        Type::User => must_be("userName"),
        Type::Group => must_be("displayName"),
    };
    let id = must_be("id").map(|id| Pick::Id(id.to_owned()));
    let name = name.map(|name| Pick::Name(folded(name)));
    id.or(name).or_else(|| must_be("externalId").map(|id| Pick::External(id.to_owned()))).unwrap_or(Pick::All)
}

async fn scan(of: Type, running: &Running, door: &Door, filter: Option<&Filter>) -> Result<Vec<Document>, ScimFault> {
    let pick = pick(of, filter);
    let rows = rows(of, running, door.rule.tenant.as_str(), &pick, (0, SCAN_MAX.saturating_add(1))).await?;
    if u64::try_from(rows.len()).unwrap_or(u64::MAX) > SCAN_MAX {
        let text = format!("more than {SCAN_MAX} resources: filter by `userName`, `externalId`, `displayName` or `id`");
        return Err(ScimFault::new(Kind::TooMany, text));
    }
    let mut hits = Vec::new();
    for row in rows {
        let whole = complete(of, &running.store, door, &row).await?;
        if filter.is_none_or(|filter| filter.holds(&whole)) {
            hits.push(whole);
        }
    }
    Ok(hits)
}
