//! An LDAP server before the gateway: groups give roles, names mean nothing in a filter, an outage is bridged and then
//! refused.

use std::time::{Duration, Instant};

use e2e::client::{Fetched, Request};
use e2e::clock;
use e2e::config::{ADMIN_TOKEN, Config};
use e2e::gateway::{Gateway, Key};
use e2e::issuer::{Issuer, SigningKey};
use e2e::say;
use e2e::slapd::{BIND, Slapd};
use e2e::upstream::Upstream;
use serde_json::{Value, json};

/// How long a call may wait for the server.
const WAIT: Duration = Duration::from_millis(1_000);
const GROUPS: &str = "group_base: \"ou=groups,dc=example,dc=com\", roles: { Held: suspended }";
const MEMBER_OF: &str = "roles: { \"cn=held, ou=groups, dc=example, dc=com\": suspended }";

struct Scene {
    slapd: Slapd,
    upstream: Upstream,
    issuer: Issuer,
    signer: SigningKey,
    gateway: Gateway,
}

/// A gateway that asks the server at `url` about callers of `acme`; members of one group have the role that the shipped
/// policy suspends, and strangers are refused.
async fn scene(url: impl Fn(&Slapd) -> String, more: &str) -> Option<Scene> {
    let slapd = Slapd::start().await?;
    let upstream = Upstream::start().await;
    let signer = SigningKey::new("k1");
    let issuer = Issuer::start(&[&signer]).await;
    let (dn, _) = BIND;
    let (url, idp) = (url(&slapd), issuer.url());
    let section = format!(
        "identity: {{ issuers: [{{ name: idp, issuer: \"{idp}\", audiences: [weir], tenant: acme, path_claims: [team] }}], \
         directory: {{ ldap: [{{ name: staff, tenant: acme, url: \"{url}\", bind_dn: \"{dn}\", \
         bind_password: \"file:./ldap_password\", user_base: \"ou=people,dc=example,dc=com\", \
         user_filter: \"(|(uid={{user}})(mail={{user}}))\", unknown: refuse, timeout_ms: {}, {more} }}] }} }}",
        WAIT.as_millis()
    );
    let mut gateway = Gateway::prepare(&Config::with(&upstream).section(&section));
    gateway.write("ldap_password", BIND.1);
    gateway.write("ldap-ca.pem", &slapd.authority.ca_pem);
    gateway.spawn().await;
    Some(Scene { slapd, upstream, issuer, signer, gateway })
}

fn plain(slapd: &Slapd) -> String {
    format!("ldap://{}", slapd.address)
}

impl Scene {
    async fn call(&self, credential: &str) -> Fetched {
        self.gateway.fetch(&Request::chat(credential, &say::chat("mock", "hi", false))).await
    }

    /// Status and code of a call with a token of that subject.
    async fn told(&self, subject: &str) -> (u16, String) {
        let claims = self.issuer.claims(subject);
        let header = json!({"alg": "ES256", "typ": "at+jwt", "kid": "k1"});
        let reply = self.call(&self.signer.sign(&header, &claims)).await;
        (reply.status, if reply.status == 200 { "ok".to_owned() } else { reply.code() })
    }

    async fn key(&self, user: &str) -> Key {
        self.gateway.key(&format!("acme/research/chat/{user}")).await
    }

    async fn standing(&self) -> Value {
        let request = Request::get("/admin/v1/directory").header("authorization", &format!("Bearer {ADMIN_TOKEN}"));
        request.fetch(self.gateway.admin).await.json()["ldap"][0].clone()
    }
}

fn ok() -> (u16, String) {
    (200, "ok".to_owned())
}

fn held() -> (u16, String) {
    (403, "policy_denied".to_owned())
}

fn unknown() -> (u16, String) {
    (401, "invalid_api_key".to_owned())
}

#[tokio::test]
async fn groups_give_roles_however_the_server_is_reached_and_groups_are_found() {
    let tls = ", ca_file: ./ldap-ca.pem";
    let near = |slapd: &Slapd| format!("ldap://localhost:{}", slapd.address.port());
    let within = |slapd: &Slapd| format!("ldaps://localhost:{}", slapd.tls_address.port());
    let Some(first) = scene(plain, GROUPS).await else { return };
    let second = scene(near, &format!("{MEMBER_OF}, starttls: true{tls}")).await.expect("it was there");
    let third = scene(within, &format!("{GROUPS}{tls}")).await.expect("it was there");
    for (scene, way) in [(first, "plain"), (second, "starttls"), (third, "tls")] {
        let (ada, bob) = (scene.key("ada").await, scene.key("bob").await);
        let refused = scene.call(&ada.secret).await;
        assert_eq!((refused.status, refused.code()), held(), "{way} {}", scene.gateway.log());
        assert_eq!(scene.call(&bob.secret).await.status, 200, "{way}");
        assert_eq!(scene.told("ada@example.com").await, held(), "{way}");
        assert_eq!(scene.standing().await["away"], false, "{way}");
        let asked = scene.gateway.metric("weir_directory_ldap_questions_total", "result=\"ok\"").await;
        assert_eq!(scene.call(&bob.secret).await.status, 200, "{way}");
        let again = scene.gateway.metric("weir_directory_ldap_questions_total", "result=\"ok\"").await;
        assert!((asked - 3.0).abs() < 0.1 && (again - asked).abs() < 0.1, "{way}: {asked} {again}");
        let looked = scene.gateway.weir(&["directory", "lookup", "--tenant", "acme", "ada"]).await;
        assert_eq!(looked.json(), json!({"ok": true, "roles": ["suspended"], "attributes": {}}), "{way}");
        let looked = scene.gateway.weir(&["directory", "lookup", "--tenant", "acme", "nobody"]).await;
        assert_eq!((looked.status, looked.stdout.contains("directory_user_unknown")), (2, true), "{way}");
    }
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_is_not_believed() {
    let within = |slapd: &Slapd| format!("ldaps://localhost:{}", slapd.tls_address.port());
    let Some(scene) = scene(within, GROUPS).await else { return };
    assert_eq!(scene.told("ada").await, (503, "directory_unavailable".to_owned()));
    assert_eq!(scene.upstream.count(), 0);
}

#[tokio::test]
async fn what_callers_are_called_means_nothing_in_a_filter() {
    let Some(scene) = scene(plain, GROUPS).await else { return };
    assert_eq!(scene.told("a*b").await, held(), "such a user is found by the very name");
    assert_eq!(scene.told("bob").await, ok());
    let strangers =
        ["*", "a*", "ad*", "ada)(uid=*", "*)(|(uid=*", ")(uid=ada", "\\61da", "ada\0", "\0", "(", "a\\2ab", "{dn}"];
    for name in strangers {
        assert_eq!(scene.told(name).await, unknown(), "{name:?}");
    }
    let long = "x".repeat(5_000);
    assert_eq!(scene.told(&long).await, unknown());
    assert_eq!(scene.told("shared@example.com").await, unknown(), "two users are nobody");
    let records = scene.gateway.audit_calls(strangers.len() + 4).await;
    let reasons = |code: &str| records.iter().filter(|record| record["reason"] == code).count();
    assert_eq!(reasons("directory_user_unknown"), strangers.len() + 1);
    assert_eq!(reasons("directory_user_ambiguous"), 1);
    assert!(records.iter().all(|record| !record.to_string().contains("shared@")), "no names on the record");
    assert!(!scene.gateway.log().contains("shared@"));
}

#[tokio::test]
async fn an_outage_is_bridged_for_a_stated_time_and_then_refused() {
    let more = format!("{GROUPS}, cache_s: 1, stale_s: 3");
    let Some(mut scene) = scene(plain, &more).await else { return };
    let bob = scene.key("bob").await;
    let known = Instant::now();
    assert_eq!(scene.call(&bob.secret).await.status, 200);
    scene.slapd.away().await;
    assert_eq!(scene.told("ada").await, (503, "directory_unavailable".to_owned()), "nothing is known of others");
    assert_eq!(scene.call(&bob.secret).await.status, 200, "remembered");
    let refused = clock::eventually("the last good answer is too old", async || {
        let reply = scene.call(&bob.secret).await;
        (reply.status != 200).then_some(reply)
    })
    .await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "directory_unavailable"));
    assert!(refused.head.get("retry-after").is_some());
    assert!(known.elapsed() >= Duration::from_secs(4), "bridged for {:?}", known.elapsed());
    scene.slapd.back().await;
    clock::eventually("it is asked again", async || (scene.call(&bob.secret).await.status == 200).then_some(())).await;
    scene.slapd.hang();
    let begun = Instant::now();
    assert_eq!(scene.told("eve").await, (503, "directory_unavailable".to_owned()));
    assert!(begun.elapsed() < WAIT + Duration::from_millis(500), "{:?}", begun.elapsed());
    let begun = Instant::now();
    assert_eq!(scene.told("eve").await, (503, "directory_unavailable".to_owned()));
    assert!(begun.elapsed() < WAIT / 2, "a server that hangs is left alone for a moment: {:?}", begun.elapsed());
    assert_eq!(scene.standing().await["away"], true);
}
