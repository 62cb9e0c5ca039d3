//! Where policies come from: the shipped bundle, or a folder of `.rego` and data files, or of what OPA compiled.
//! Bounded; refuses what is too large, too deep or unreadable.

use std::fs;
use std::path::{Path, PathBuf};

use super::PolicyFault;
use crate::config::settings::PolicySettings;

/// Files of a policy folder, tests and other files included.
const FILES_MAX: usize = 1_024;
/// Folders below the policy folder.
const DEPTH_MAX: usize = 8;
/// Bytes of all policies and data together.
const BYTES_MAX: u64 = 32 << 20;

/// The policies that ship with Weir, as (name, text): what decides by itself, and what builds on it.
const AUTHZ: (&str, &str) = ("authz/authz.rego", include_str!("../../../policies/authz/authz.rego"));
const ADMIN: (&str, &str) = ("admin/admin.rego", include_str!("../../../policies/admin/admin.rego"));
const ABAC: (&str, &str) = ("abac/abac.rego", include_str!("../../../policies/abac/abac.rego"));

/// The shipped policies that an entry point needs. Fewer are faster: the grants alone can be remembered per caller.
pub fn shipped(entrypoint: &str) -> &'static [(&'static str, &'static str)] {
    if entrypoint.starts_with("data.weir.abac.") {
        &[AUTHZ, ABAC]
    } else if entrypoint.starts_with("data.weir.admin.") {
        &[ADMIN]
    } else {
        &[AUTHZ]
    }
}

/// Policies and data as read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bundle {
    /// (file name, text) of every `.rego` file but the tests.
    pub policies: Vec<(String, String)>,
    /// The documents of `data.json` and `data.yaml` files.
    pub data: Vec<serde_json::Value>,
    /// What `opa build -t wasm` made: a file that ends in `.wasm`, or `policy.wasm` in a folder. It stands for the
    /// policies, which OPA puts beside it as their source.
    pub wasm: Option<Vec<u8>>,
}

/// Which files are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tests {
    /// Files ending in `_test.rego` are left out.
    LeftOut,
    /// All of them.
    Taken,
}

/// Reads the folder, or the shipped policies where none is named, without tests; and the data beside them.
pub fn load(settings: &PolicySettings) -> Result<Bundle, PolicyFault> {
    let mut bundle = match &settings.path {
        Some(folder) => read(&[folder.to_owned()], Tests::LeftOut)?,
        None => {
            let policies = shipped(&settings.entrypoint).iter();
            let policies = policies.map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
            Bundle { policies: policies.collect(), ..Bundle::default() }
        }
    };
    if let (Some(folder), true) = (&settings.path, bundle.policies.is_empty() && bundle.wasm.is_none()) {
        return Err(PolicyFault::Empty { folder: folder.to_owned() });
    }
    if let Some(path) = &settings.data {
        // Policies that lie there are not asked for.
        bundle.data.extend(read(std::slice::from_ref(path), Tests::LeftOut)?.data);
    }
    Ok(bundle)
}

/// Reads files and folders. A data file in a folder below a named one lies at that folder's path, as in OPA's bundles.
pub fn read(paths: &[PathBuf], tests: Tests) -> Result<Bundle, PolicyFault> {
    let mut bundle = Bundle::default();
    let mut bytes_left = BYTES_MAX;
    for path in paths {
        let unreadable = |source| PolicyFault::Unreadable { path: path.clone(), source };
        if !fs::metadata(path).map_err(unreadable)?.is_dir() {
            let folder = path.parent().unwrap_or(path);
            read_into(&mut bundle, folder, path, Tests::Taken, &mut bytes_left)?;
            continue;
        }
        for file in list(path)? {
            read_into(&mut bundle, path, &file, tests, &mut bytes_left)?;
        }
    }
    Ok(bundle)
}

/// The policies among files and below folders, tests included.
pub fn rego_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, PolicyFault> {
    let mut all = Vec::new();
    for path in paths {
        let unreadable = |source| PolicyFault::Unreadable { path: path.clone(), source };
        match fs::metadata(path).map_err(unreadable)?.is_dir() {
            true => {
                all.extend(list(path)?.into_iter().filter(|file| file.extension().is_some_and(|end| end == "rego")))
            }
            false => all.push(path.clone()),
        }
    }
    Ok(all)
}

/// Every file below the folder, sorted, so that a load doesn't depend on the file system's order.
fn list(folder: &Path) -> Result<Vec<PathBuf>, PolicyFault> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| PolicyFault::Unreadable { path, source }
    };
    let mut files = Vec::new();
    let mut folders = vec![(folder.to_owned(), 0)];
    while let Some((path, depth)) = folders.pop() {
        for entry in fs::read_dir(&path).map_err(unreadable(&path))? {
            let entry = entry.map_err(unreadable(&path))?;
            let is_folder = fs::metadata(entry.path()).map_err(unreadable(&entry.path()))?.is_dir();
            match is_folder {
                true if depth < DEPTH_MAX => folders.push((entry.path(), depth.saturating_add(1))),
                true => return Err(PolicyFault::TooMuch { path: entry.path(), what: "folders in one another" }),
                false => files.push(entry.path()),
            }
            if files.len().saturating_add(folders.len()) > FILES_MAX {
                return Err(PolicyFault::TooMuch { path, what: "files" });
            }
        }
    }
    files.sort();
    Ok(files)
}

fn read_into(
    bundle: &mut Bundle,
    folder: &Path,
    file: &Path,
    tests: Tests,
    bytes_left: &mut u64,
) -> Result<(), PolicyFault> {
    let name = file.strip_prefix(folder).unwrap_or(file).to_string_lossy().into_owned();
    let last = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let is_json = last.ends_with(".json");
    let is_data = is_json || last.ends_with(".yaml") || last.ends_with(".yml");
    let is_test = last.ends_with("_test.rego");
    let is_module = last.ends_with(".wasm") && (name == "policy.wasm" || tests == Tests::Taken);
    if !is_data && !is_module && (!last.ends_with(".rego") || (is_test && tests == Tests::LeftOut)) {
        return Ok(());
    }
    let unreadable = |source| PolicyFault::Unreadable { path: file.to_owned(), source };
    let length = fs::metadata(file).map_err(unreadable)?.len();
    *bytes_left =
        bytes_left.checked_sub(length).ok_or_else(|| PolicyFault::TooMuch { path: file.to_owned(), what: "bytes" })?;
    if is_module {
        if bundle.wasm.is_some() {
            return Err(PolicyFault::TooMuch { path: file.to_owned(), what: "compiled policies" });
        }
        bundle.wasm = Some(fs::read(file).map_err(unreadable)?);
        return Ok(());
    }
    let text = fs::read_to_string(file).map_err(unreadable)?;
    if !is_data {
        bundle.policies.push((name, text));
        return Ok(());
    }
    let document: Result<serde_json::Value, String> = match is_json {
        true => serde_json::from_str(&text).map_err(|fault| fault.to_string()),
        false => serde_yaml_ng::from_str(&text).map_err(|fault| fault.to_string()),
    };
    let mut document = document.map_err(|text| PolicyFault::Data { name: name.clone(), text })?;
    let folders: Vec<&str> = name.split('/').rev().skip(1).collect();
    for folder in folders {
        document = serde_json::json!({ folder: document });
    }
    bundle.data.push(document);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(path: &Path) -> PolicySettings {
        let timeout = std::time::Duration::from_secs(1);
        PolicySettings {
            input: crate::config::settings::PolicyInput::Weir,
            path: Some(path.to_owned()),
            data: None,
            entrypoint: "data.x.y".to_owned(),
            timeout,
            engine: crate::config::settings::PolicyEngine::Auto,
        }
    }

    #[test]
    fn a_folder_gives_its_policies_and_data_without_its_tests() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::write(folder.path().join("a/x.rego"), "package x").unwrap();
        fs::write(folder.path().join("a/x_test.rego"), "package x_test").unwrap();
        fs::write(folder.path().join("a/data.yaml"), "plans: {gold: [1]}").unwrap();
        fs::write(folder.path().join("data.json"), r#"{"more": true}"#).unwrap();
        fs::write(folder.path().join("README.md"), "not a policy").unwrap();
        let bundle = load(&settings(folder.path())).unwrap();
        assert_eq!(bundle.policies, [("a/x.rego".to_owned(), "package x".to_owned())]);
        assert_eq!(
            bundle.data,
            [serde_json::json!({"a": {"plans": {"gold": [1]}}}), serde_json::json!({"more": true})]
        );
    }

    #[test]
    fn a_folder_without_policies_is_a_fault_not_an_empty_policy() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(load(&settings(folder.path())), Err(PolicyFault::Empty { .. })));
        assert!(matches!(load(&settings(&folder.path().join("none"))), Err(PolicyFault::Unreadable { .. })));
        fs::write(folder.path().join("data.json"), "{").unwrap();
        assert!(matches!(load(&settings(folder.path())), Err(PolicyFault::Data { .. })));
    }
}
