use serde_json::json;

use super::*;
use crate::identity::scim::{Type, resource};
use crate::store::sqlite::Create;

const NOW: u64 = 1_000_000;

fn rule(tenant: &str) -> ScimRule {
    ScimRule {
        name: "corp".into(),
        tenant: TenantPath::parse(tenant).unwrap(),
        tokens: Vec::new(),
        roles: BTreeMap::from([("Devs".to_owned(), "developer".to_owned()), ("All".to_owned(), "staff".to_owned())]),
        attributes: BTreeMap::from([("dep".to_owned(), entry::fact_place("department").unwrap())]),
        strangers: Strangers::Allow,
    }
}

struct Scene {
    _folder: tempfile::TempDir,
    store: Store,
    directories: Directories,
    rules: DirectoryRules,
}

impl Scene {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("weir.db"), Create::IfMissing).await.unwrap();
        let rules = DirectoryRules { scim: vec![Arc::new(rule("acme"))], ldap: Vec::new() };
        Self { _folder: folder, store, directories: Directories::new(), rules }
    }

    async fn user(&self, tenant: &str, id: &str, mut body: serde_json::Value) {
        body["schemas"] = json!(["urn:ietf:params:scim:schemas:core:2.0:User"]);
        let document = resource::accept(Type::User, &body).unwrap();
        self.store.user_insert(tenant, id, &entry::user(&document), NOW).await.unwrap();
        self.directories.refresh(&self.store, NOW).await.unwrap();
    }

    async fn group(&self, id: &str, name: &str, members: &[&str]) {
        let members: Vec<_> = members.iter().map(|id| json!({"value": id})).collect();
        let body = json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": name,
            "members": members});
        let document = resource::accept(Type::Group, &body).unwrap();
        self.store.group_insert("acme", id, &entry::group(&document), NOW).await.unwrap();
        self.directories.refresh(&self.store, NOW).await.unwrap();
    }

    async fn ask(&self, tenant: &str, claimed: &[UserName]) -> Result<Added, DirectoryFault> {
        let tenant = TenantPath::parse(tenant).unwrap();
        self.directories.lookup(&self.rules, &tenant, &names(&tenant, claimed), NOW).await
    }
}

fn roles(added: &Added) -> Vec<&str> {
    added.roles.iter().map(|role| &**role).collect()
}

const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

#[tokio::test]
async fn a_user_is_found_by_each_of_its_names_and_has_the_roles_of_outer_groups() {
    let scene = Scene::new().await;
    let mail = json!([{"value": "Ada@Mail.example"}]);
    let extended = json!({"department": "Engines"});
    scene
        .user(
            "acme",
            "u1",
            json!({"userName": "Ada@Corp.example", "externalId": "x1", "emails": mail, ENTERPRISE: extended}),
        )
        .await;
    scene.group("g1", "Devs", &["u1"]).await;
    scene.group("g2", "All", &["g1"]).await;
    scene.group("g3", "Other", &["u1"]).await;
    let claims = [
        UserName::Claim("x1".into()),
        UserName::Claim("ADA@corp.example".into()),
        UserName::Mail("ada@mail.example".into()),
    ];
    for claimed in &claims {
        let added = scene.ask("acme/re", std::slice::from_ref(claimed)).await.unwrap();
        assert_eq!(roles(&added), ["developer", "staff"], "{claimed:?}");
        assert_eq!(added.attributes.get("dep").map(String::as_str), Some("Engines"));
    }
    assert_eq!(roles(&scene.ask("acme/re/chat/ada", &[]).await.unwrap()), ["developer", "staff"]);
    assert_eq!(roles(&scene.ask("acme/re/chat/ada", &claims).await.unwrap()).len(), 2, "all are one user");
    for (tenant, claimed) in [("acme/re/ada", &[][..]), ("globex/re/chat/ada", &[]), ("acme/re/chat/eve", &[])] {
        assert_eq!(scene.ask(tenant, claimed).await, Ok(Added::default()), "{tenant}");
    }
    let near = [UserName::Claim("X1".into()), UserName::Claim("ada@mail.example".into()), UserName::Mail("x1".into())];
    for claimed in near {
        assert_eq!(scene.ask("acme", std::slice::from_ref(&claimed)).await, Ok(Added::default()), "{claimed:?}");
    }
}

#[tokio::test]
async fn who_is_switched_off_deleted_or_not_the_only_one_is_refused() {
    let scene = Scene::new().await;
    scene.user("acme", "u1", json!({"userName": "ada", "active": false})).await;
    scene.user("acme", "u2", json!({"userName": "bob@a.example"})).await;
    scene.user("acme", "u3", json!({"userName": "bob@b.example", "externalId": "b"})).await;
    scene.user("acme", "u4", json!({"userName": "eve"})).await;
    assert_eq!(scene.ask("acme/r/c/ada", &[]).await, Err(DirectoryFault::Inactive));
    assert_eq!(scene.ask("acme/r/c/bob", &[]).await, Err(DirectoryFault::Ambiguous));
    let two = [UserName::Claim("b".into()), UserName::Claim("eve".into())];
    assert_eq!(scene.ask("acme", &two).await, Err(DirectoryFault::Ambiguous));
    assert_eq!(
        scene.ask("acme", &[UserName::Claim("eve".into()), UserName::Claim("ada".into())]).await,
        Err(DirectoryFault::Inactive)
    );
    assert!(scene.ask("acme/r/c/eve", &[]).await.is_ok());
    assert!(scene.store.user_delete("acme", "u4", NOW).await.unwrap());
    scene.directories.refresh(&scene.store, NOW).await.unwrap();
    assert_eq!(scene.ask("acme/r/c/eve", &[]).await, Err(DirectoryFault::Inactive));
    let tenant = TenantPath::parse("acme/r/c/eve").unwrap();
    assert!(!scene.directories.is_live(&scene.rules, &tenant, &names(&tenant, &[])));
    scene.user("acme", "u5", json!({"userName": "eve@new.example"})).await;
    assert!(scene.ask("acme/r/c/eve", &[]).await.is_ok(), "there is such a user again");
    assert!(scene.directories.is_live(&scene.rules, &tenant, &names(&tenant, &[])));
}

#[tokio::test]
async fn strangers_are_refused_where_the_rule_says_so_and_an_inner_directory_counts_too() {
    let mut scene = Scene::new().await;
    let strict = ScimRule { strangers: Strangers::Refuse, ..rule("acme/re") };
    scene.rules.scim.push(Arc::new(strict));
    scene.user("acme", "u1", json!({"userName": "ada"})).await;
    assert_eq!(scene.ask("acme/re/c/ada", &[]).await, Err(DirectoryFault::Unknown));
    assert_eq!(scene.ask("acme/ops/c/ada", &[]).await, Ok(Added::default()));
    scene.user("acme/re", "u2", json!({"userName": "ada"})).await;
    assert_eq!(scene.ask("acme/re/c/ada", &[]).await, Ok(Added::default()));
    scene.user("acme", "u3", json!({"userName": "bob", "active": false})).await;
    scene.user("acme/re", "u4", json!({"userName": "bob"})).await;
    assert_eq!(scene.ask("acme/re/c/bob", &[]).await, Err(DirectoryFault::Inactive), "the outer one says no");
}

#[tokio::test]
async fn what_was_not_read_for_too_long_refuses() {
    let scene = Scene::new().await;
    scene.user("acme", "u1", json!({"userName": "ada"})).await;
    let tenant = TenantPath::parse("acme/r/c/ada").unwrap();
    let user = names(&tenant, &[]);
    let at = async |now_ms| scene.directories.lookup(&scene.rules, &tenant, &user, now_ms).await;
    assert!(at(NOW + STALE_MS).await.is_ok());
    assert_eq!(at(NOW + STALE_MS + 1).await, Err(DirectoryFault::Unavailable));
    let unread = Directories::new().lookup(&scene.rules, &tenant, &user, NOW).await;
    assert_eq!(unread, Err(DirectoryFault::Unavailable), "before the first look");
}

#[test]
fn facts_are_single_texts_of_a_user() {
    let places = [
        ("userType", Some("userType")),
        ("NAME.givenname", Some("name.givenName")),
        ("department", Some("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department")),
        ("manager.value", Some("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value")),
        ("emails", None),
        ("emails.value", None),
        ("name", None),
        ("nope", None),
        ("", None),
    ];
    for (text, place) in places {
        assert_eq!(entry::fact_place(text).as_deref(), place, "{text}");
    }
}
