//! Roots: the parts of `data` that a bundle owns. Pure.

use regorus::unstable::Module;
use serde_json::Value as Json;

use super::BundleFault;

/// Roots of one bundle.
const ROOTS_MAX: usize = 64;
/// Levels of a root.
const LEVELS_MAX: usize = 32;

/// A part of `data`, as its path; the empty one is all of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Root(Vec<String>);

impl Root {
    /// `a/b` of `a/b`, `/a/b/`; `None` where a level is empty or there are too many.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('/').unwrap_or(text);
        let text = text.strip_suffix('/').unwrap_or(text);
        if text.is_empty() {
            return Some(Self(Vec::new()));
        }
        let levels: Vec<String> = text.split('/').take(LEVELS_MAX.saturating_add(1)).map(str::to_owned).collect();
        (levels.len() <= LEVELS_MAX && levels.iter().all(|level| !level.is_empty())).then_some(Self(levels))
    }

    /// Whether this one lies in `outer` or is it.
    pub fn is_within(&self, outer: &Self) -> bool {
        self.0.starts_with(&outer.0)
    }

    /// Whether the two share a part of `data`.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.is_within(other) || other.is_within(self)
    }
}

impl std::fmt::Display for Root {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join("/"))
    }
}

/// Reads a manifest's list; without one a bundle owns everything.
pub(super) fn read(list: Option<&Json>) -> Result<Vec<Root>, BundleFault> {
    let Some(list) = list else { return Ok(vec![Root(Vec::new())]) };
    let wrong = || BundleFault::Manifest("`roots` is no list of paths".to_owned());
    let items = list.as_array().filter(|items| !items.is_empty() && items.len() <= ROOTS_MAX).ok_or_else(wrong)?;
    let roots: Option<Vec<Root>> = items.iter().map(|item| Root::parse(item.as_str()?)).collect();
    let mut roots = roots.ok_or_else(wrong)?;
    roots.sort();
    match roots.windows(2).find(|pair| matches!(pair, [one, other] if one.overlaps(other))) {
        Some(pair) => Err(BundleFault::Manifest(format!("its roots overlap one another: {}", list_of(pair)))),
        None => Ok(roots),
    }
}

/// Refuses roots that the configuration doesn't give to the bundle.
pub(super) fn confine(roots: &[Root], allowed: &[Root]) -> Result<(), BundleFault> {
    match roots.iter().find(|root| !allowed.iter().any(|outer| root.is_within(outer))) {
        Some(root) => Err(BundleFault::Roots { root: root.to_string(), allowed: list_of(allowed) }),
        None => Ok(()),
    }
}

/// Refuses modules whose package lies outside.
pub(super) fn check_modules<'m>(roots: &[Root], modules: impl Iterator<Item = &'m Module>) -> Result<(), BundleFault> {
    for module in modules {
        let package = module.package.refr.span();
        let path = Root(segments(package.text()));
        if !roots.iter().any(|root| path.is_within(root)) {
            let file = package.source.get_path().clone();
            return Err(BundleFault::Outside { file, path: path.to_string(), roots: list_of(roots) });
        }
    }
    Ok(())
}

/// Refuses data that lies outside.
pub(super) fn check_data(roots: &[Root], file: &str, data: &Json) -> Result<(), BundleFault> {
    let mut waiting = vec![(Root(Vec::new()), data)];
    while let Some((path, value)) = waiting.pop() {
        if roots.iter().any(|root| path.is_within(root)) {
            continue;
        }
        // Only what leads to a root may stand outside of one.
        match value.as_object().filter(|_| roots.iter().any(|root| root.is_within(&path))) {
            Some(members) => waiting.extend(members.iter().map(|(name, value)| (path.below(name), value))),
            None => {
                let (file, path) = (file.to_owned(), path.to_string());
                return Err(BundleFault::Outside { file, path, roots: list_of(roots) });
            }
        }
    }
    Ok(())
}

impl Root {
    fn below(&self, name: &str) -> Self {
        Self(self.0.iter().cloned().chain([name.to_owned()]).collect())
    }
}

/// Names of a package such as `a.b["c-d"]`.
fn segments(package: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut rest = package.trim();
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix("[\"") {
            let (name, after) = quoted.split_once("\"]").unwrap_or((quoted, ""));
            all.push(name.to_owned());
            rest = after;
            continue;
        }
        rest = rest.strip_prefix('.').unwrap_or(rest);
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        all.push(name.trim().to_owned());
        rest = after;
    }
    all
}

/// For people.
pub(super) fn list_of(roots: &[Root]) -> String {
    let all: Vec<String> = roots.iter().map(|root| format!("`{root}`")).collect();
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn roots(list: &[&str]) -> Vec<Root> {
        list.iter().map(|text| Root::parse(text).unwrap()).collect()
    }

    #[test]
    fn a_root_holds_what_lies_below_it_and_nothing_beside_it() {
        let root = |text| Root::parse(text).unwrap();
        assert!(root("acme/x").is_within(&root("acme")) && root("/acme/").overlaps(&root("acme/x/y")));
        assert!(!root("acme2").is_within(&root("acme")) && !root("acme/x").overlaps(&root("acme/y")));
        assert!(root("anything").is_within(&root("")));
        assert_eq!(Root::parse("a//b"), None);
        assert!(read(Some(&json!(["a", "a/b"]))).is_err(), "its own roots overlap");
        assert!(read(Some(&json!([]))).is_err() && read(Some(&json!("a"))).is_err());
        assert_eq!(read(None).unwrap(), roots(&[""]));
        assert!(confine(&roots(&["acme/x"]), &roots(&["acme"])).is_ok());
        assert!(confine(&roots(&[""]), &roots(&["acme"])).is_err());
    }

    #[test]
    fn data_outside_of_the_roots_is_refused_at_whatever_depth() {
        let own = roots(&["acme/rules", "acme/lists"]);
        for good in [json!({}), json!({"acme": {"rules": 1, "lists": {"a": []}}})] {
            assert!(check_data(&own, "data.json", &good).is_ok(), "{good}");
        }
        for bad in [json!({"acme": {"rules": 1, "more": 1}}), json!({"acme": 1}), json!({"weir": {}}), json!([1])] {
            assert!(check_data(&own, "data.json", &bad).is_err(), "{bad}");
        }
        assert_eq!(segments("a.b[\"c.d-e\"].f"), ["a", "b", "c.d-e", "f"]);
    }
}
