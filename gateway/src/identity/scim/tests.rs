use serde_json::{Value, json};

use super::filter::Filter;
use super::place::Scope;
use super::resource::{self, Document};
use super::shown::Shown;
use super::{Kind, ScimFault, Type, patch};

const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

fn ada() -> Document {
    let body = json!({
        "schemas": [USER, ENTERPRISE], "userName": "Ada@Example.com", "externalId": "X-1", "active": true,
        "name": {"familyName": "Lovelace", "givenName": "Ada"},
        "emails": [{"value": "ada@example.com", "type": "work", "primary": true},
                   {"value": "ada@home.example", "type": "home"}],
        ENTERPRISE: {"department": "Engines", "manager": {"value": "m-1"}},
    });
    let mut ada = resource::accept(Type::User, &body).unwrap();
    ada.insert("meta".to_owned(), json!({"created": "2026-01-31T12:00:00.000Z"}));
    ada
}

#[test]
fn filters_hold_as_the_grammar_says() {
    let table = [
        (r#"userName eq "ada@example.com""#, true),
        (r#"USERNAME EQ "ADA@example.com""#, true),
        (r#"userName ne "ada@example.com""#, false),
        (r#"externalId eq "x-1""#, false),
        (r#"externalId eq "X-1""#, true),
        (r#"userName co "example" and userName sw "ada" and userName ew ".COM""#, true),
        (r#"name.familyName eq "lovelace" and not (name.givenName eq "eve")"#, true),
        ("title pr", false),
        ("not (title pr)", true),
        ("emails pr and name pr", true),
        (r#"emails eq "ada@home.example""#, true),
        (r#"emails[type eq "work" and value co "home"]"#, false),
        (r#"emails[type eq "home" and value co "home"]"#, true),
        (r#"emails.type eq "home""#, true),
        ("active eq true", true),
        (r#"active eq "False""#, false),
        ("active ne false", true),
        ("title eq null", true),
        ("userName eq null", false),
        (r#"title ne "x""#, true),
        (r#"meta.created gt "2026-01-31T11:59:59Z""#, true),
        (r#"meta.created le "2026-01-31T13:00:00+01:00""#, true),
        (r#"meta.created lt "2026-01-31T13:00:00+01:00""#, false),
        (r#"userName gt "abc" and userName lt "adb""#, true),
        // `or` binds less than `and`.
        (r#"title pr and userName pr or active eq true"#, true),
        (r#"active eq true or title pr and title pr"#, true),
        (r#"(active eq true or title pr) and title pr"#, false),
        ("urn:ietf:params:scim:schemas:core:2.0:User:name.givenName eq \"ada\"", true),
        ("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department sw \"eng\"", true),
        ("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value eq \"M-1\"", false),
        (r#"userName eq "a\"b\\c\u0041""#, false),
    ];
    for (text, holds) in table {
        let filter = Filter::parse(Scope::Whole(Type::User), text).unwrap_or_else(|fault| panic!("{text}: {fault}"));
        assert_eq!(filter.holds(&ada()), holds, "{text}");
    }
}

#[test]
fn filters_that_mean_nothing_are_refused() {
    let deep = format!("{}active eq true{}", "(".repeat(40), ")".repeat(40));
    let long = vec!["active eq true"; 100].join(" or ");
    let huge = format!("userName eq \"{}\"", "x".repeat(5_000));
    let table = [
        "",
        " ",
        "userName",
        "userName eq",
        "userName eq ada",
        "userName is \"ada\"",
        "nope eq \"x\"",
        "userName eq \"x",
        "userName eq \"x\" and",
        "(userName pr",
        "userName pr)",
        "not userName pr",
        "emails[type eq \"work\"",
        "name eq \"x\"",
        "active gt true",
        "active eq \"maybe\"",
        "userName eq true",
        "userName eq 5",
        "userName[value pr]",
        "password pr",
        "emails[nope pr]",
        "emails.nope pr",
        "userName eq \"x\" userName pr",
        "\"x\" eq userName",
        "é pr",
        "userName eq 'x'",
        "emails[type eq \"work\"].value eq \"x\"",
        "urn:x:User:userName pr",
        &deep,
        &long,
        &huge,
    ];
    for text in table {
        let fault = Filter::parse(Scope::Whole(Type::User), text).unwrap_err();
        assert_eq!(fault.kind, Kind::InvalidFilter, "{text}");
    }
}

#[test]
fn an_index_helps_only_where_the_filter_demands_one_name() {
    let must_be = |text: &str| {
        let filter = Filter::parse(Scope::Whole(Type::User), text).unwrap();
        filter.must_be("userName").map(str::to_owned)
    };
    assert_eq!(must_be(r#"userName eq "a""#).as_deref(), Some("a"));
    assert_eq!(must_be(r#"active eq true and userName eq "a""#).as_deref(), Some("a"));
    for text in [r#"userName eq "a" or active eq true"#, r#"not (userName eq "a")"#, r#"userName sw "a""#] {
        assert_eq!(must_be(text), None, "{text}");
    }
}

fn changed(of: Type, mut document: Document, operations: Value) -> Result<Document, ScimFault> {
    let body = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": operations});
    patch::apply(of, &mut document, &body).map(|()| document)
}

#[test]
fn changes_are_applied_where_they_point() {
    let after = |operation: Value| Value::Object(changed(Type::User, ada(), json!([operation])).unwrap());
    let add = |path: &str, value: Value| after(json!({"op": "Add", "path": path, "value": value}));
    assert_eq!(add("title", json!("Countess"))["title"], "Countess");
    assert_eq!(add("name", json!({"middleName": "A."}))["name"]["familyName"], "Lovelace");
    assert_eq!(add("name.middleName", json!("A."))["name"]["middleName"], "A.");
    let mails = add("emails", json!([{"value": "new@x.example", "primary": true}]));
    let primary: Vec<_> = mails["emails"].as_array().unwrap().iter().map(|mail| mail["primary"].clone()).collect();
    assert_eq!(primary, [json!(false), Value::Null, json!(true)], "{mails}");
    assert_eq!(
        add("emails", json!([{"value": "ada@home.example", "type": "home"}]))["emails"].as_array().unwrap().len(),
        2
    );
    assert_eq!(
        add(r#"emails[type eq "other"].value"#, json!("o@x"))["emails"][2],
        json!({"type": "other", "value": "o@x"})
    );
    assert_eq!(add(&format!("{ENTERPRISE}:division"), json!("D"))[ENTERPRISE]["division"], "D");
    let replace = |path: &str, value: Value| after(json!({"op": "replace", "path": path, "value": value}));
    assert_eq!(replace("active", json!("False"))["active"], false);
    assert_eq!(replace("name", json!({"givenName": "A"}))["name"], json!({"givenName": "A"}));
    assert_eq!(replace(r#"emails[type eq "work"].value"#, json!("w@x"))["emails"][0]["value"], "w@x");
    assert_eq!(replace("emails", json!([{"value": "only@x"}]))["emails"], json!([{"value": "only@x"}]));
    assert!(replace("title", Value::Null).get("title").is_none());
    let whole = after(json!({"op": "replace", "value": {"id": "z", "displayName": "Ada", "name.givenName": "Augusta",
        "nonsense": 1, ENTERPRISE: {"costCenter": "7"}}}));
    assert_eq!((&whole["displayName"], &whole["name"]["givenName"]), (&json!("Ada"), &json!("Augusta")));
    assert!(whole.get("nonsense").is_none() && whole.get("id").is_none());
    assert_eq!(whole[ENTERPRISE], json!({"costCenter": "7"}));
    let remove = |path: &str| after(json!({"op": "remove", "path": path}));
    assert_eq!(remove(r#"emails[type eq "home"]"#)["emails"].as_array().unwrap().len(), 1);
    assert!(remove("emails").get("emails").is_none());
    assert!(remove("name.givenName")["name"].get("givenName").is_none());
    assert!(remove(ENTERPRISE).get(ENTERPRISE).is_none());
    assert!(remove(&format!("{ENTERPRISE}:department"))[ENTERPRISE].get("department").is_none());
}

#[test]
fn members_come_and_go_one_by_one() {
    let body = json!({"schemas": [GROUP], "displayName": "Devs", "members": [{"value": "a"}, {"value": "b"}]});
    let group = resource::accept(Type::Group, &body).unwrap();
    let left = |operation: Value| {
        let group = changed(Type::Group, group.clone(), json!([operation])).unwrap();
        let members = group.get("members").and_then(Value::as_array).cloned().unwrap_or_default();
        members.iter().map(|member| member["value"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(left(json!({"op": "add", "path": "members", "value": [{"value": "c"}]})), ["a", "b", "c"]);
    assert_eq!(left(json!({"op": "add", "path": "members", "value": {"value": "c"}})), ["a", "b", "c"]);
    assert_eq!(left(json!({"op": "remove", "path": "members[value eq \"a\"]"})), ["b"]);
    assert_eq!(left(json!({"op": "remove", "path": "members", "value": [{"value": "a"}]})), ["b"]);
    assert!(left(json!({"op": "remove", "path": "members"})).is_empty());
    assert_eq!(left(json!({"op": "replace", "path": "members", "value": [{"value": "z", "display": "Z"}]})), ["z"]);
    assert_eq!(left(json!({"op": "replace", "value": {"members": [{"value": "z"}]}})), ["z"]);
}

#[test]
fn changes_that_can_not_be_made_are_refused_by_kind() {
    let table = [
        (json!({"op": "move", "path": "title"}), Kind::InvalidSyntax),
        (json!({"op": "remove"}), Kind::NoTarget),
        (json!({"op": "remove", "path": "userName"}), Kind::InvalidValue),
        (json!({"op": "add", "path": "nope", "value": 1}), Kind::InvalidPath),
        (json!({"op": "add", "path": 5, "value": 1}), Kind::InvalidPath),
        (json!({"op": "add", "path": "emails[type eq \"work\"", "value": 1}), Kind::InvalidPath),
        (json!({"op": "add", "path": "emails[nope eq \"work\"]", "value": {}}), Kind::InvalidFilter),
        (json!({"op": "replace", "path": "id", "value": "x"}), Kind::Mutability),
        (json!({"op": "replace", "path": "groups", "value": []}), Kind::Mutability),
        (json!({"op": "replace", "path": "meta.created", "value": "x"}), Kind::Mutability),
        (json!({"op": "replace", "path": "emails[type eq \"other\"].value", "value": "x"}), Kind::NoTarget),
        (json!({"op": "replace", "path": "title", "value": 5}), Kind::InvalidValue),
        (json!({"op": "replace", "path": "active", "value": "perhaps"}), Kind::InvalidValue),
        (json!({"op": "add", "value": "x"}), Kind::InvalidSyntax),
        (
            json!({"op": "add", "path": "emails", "value": [{"value": "a", "primary": true}, {"value": "b", "primary": true}]}),
            Kind::InvalidValue,
        ),
    ];
    for (operation, kind) in table {
        let fault = changed(Type::User, ada(), json!([operation])).unwrap_err();
        assert_eq!(fault.kind, kind, "{operation}: {fault}");
    }
    assert_eq!(changed(Type::User, ada(), json!([])).unwrap_err().kind, Kind::InvalidSyntax);
    let fixed = json!([{"op": "replace", "path": "members[value eq \"a\"].value", "value": "b"}]);
    assert_eq!(changed(Type::Group, Document::new(), fixed).unwrap_err().kind, Kind::Mutability);
}

#[test]
fn a_resource_has_its_schemas_names_and_nothing_else() {
    let body = json!({
        "schemas": [USER.to_uppercase()], "USERNAME": "ada", "id": "mine", "meta": {"created": "x"}, "password": "secret",
        "groups": [{"value": "g"}], "emails": [], "title": null, "unknown": {"a": 1}, "active": "TRUE",
    });
    let made = Value::Object(resource::accept(Type::User, &body).unwrap());
    assert_eq!(made, json!({"userName": "ada", "active": true}));
    let table = [
        (json!({"userName": "ada"}), Kind::InvalidSyntax),
        (json!({"schemas": [GROUP], "userName": "ada"}), Kind::InvalidSyntax),
        (json!({"schemas": [USER]}), Kind::InvalidValue),
        (json!({"schemas": [USER], "userName": "  "}), Kind::InvalidValue),
        (json!({"schemas": [USER], "userName": "a\u{7}"}), Kind::InvalidValue),
        (json!({"schemas": [USER], "userName": "x".repeat(600)}), Kind::InvalidValue),
        (json!({"schemas": [USER], "userName": 5}), Kind::InvalidValue),
        (json!({"schemas": [USER], "userName": "a", "USERNAME": "b"}), Kind::InvalidSyntax),
        (json!({"schemas": [USER], "userName": "a", "emails": {"value": "x"}}), Kind::InvalidValue),
        (json!({"schemas": [USER], "userName": "a", "emails": [[]]}), Kind::InvalidValue),
        (json!({"schemas": [USER], "userName": "a", "title": "x".repeat(9_000)}), Kind::InvalidValue),
        (json!({"schemas": [USER], "userName": "a", "emails": vec![json!({"value": "x"}); 100]}), Kind::InvalidValue),
        (json!({"schemas": [USER], "userName": "a", ENTERPRISE: []}), Kind::InvalidValue),
        (json!([]), Kind::InvalidSyntax),
    ];
    for (body, kind) in table {
        assert_eq!(resource::accept(Type::User, &body).unwrap_err().kind, kind, "{body}");
    }
    assert!(resource::parse(br#"{"a": {"b": 1, "b": 2}}"#).is_err(), "members stand once at every depth");
}

#[test]
fn a_reply_shows_what_was_asked_for_and_always_the_id() {
    let mut whole = ada();
    whole.insert("id".to_owned(), "u1".into());
    whole.insert("schemas".to_owned(), json!([USER]));
    let names = |text: &str| Some(text.split(',').map(str::to_owned).collect::<Vec<_>>());
    let shown =
        |only: Option<Vec<String>>, without| Value::Object(Shown::new(only, without).of(Type::User, whole.clone()));
    let some = shown(names("USERNAME,emails.value,name.givenName,nope"), None);
    let mails = json!([{"value": "ada@example.com"}, {"value": "ada@home.example"}]);
    let expected = json!({"schemas": [USER], "id": "u1", "userName": "Ada@Example.com", "emails": mails,
        "name": {"givenName": "Ada"}});
    assert_eq!(some, expected);
    let rest =
        shown(None, names("emails,id,name.givenName,urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"));
    assert!(rest.get("emails").is_none() && rest.get(ENTERPRISE).is_none());
    assert_eq!((&rest["id"], &rest["name"]), (&json!("u1"), &json!({"familyName": "Lovelace"})));
    let both = shown(names("emails.value,emails.type"), None);
    assert_eq!(both["emails"][0], json!({"value": "ada@example.com", "type": "work"}));
}

mod any_bytes {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_filter_is_read_or_refused(text in "[a-zA-Z0-9 ()\\[\\]\".:\\\\é-]{0,60}") {
            drop(Filter::parse(Scope::Whole(Type::User), &text).map(|filter| filter.holds(&ada())));
        }

        #[test]
        fn a_path_is_read_or_refused(text in "(emails|members|name|urn:)?[a-z\\[\\]\". ]{0,40}") {
            let operation = json!([{"op": "add", "path": text, "value": "x"}]);
            drop(changed(Type::User, ada(), operation));
        }
    }
}
