use super::*;

const NOW: u64 = 1_000_000;

fn rule(url: &str) -> Arc<LdapRule> {
    Arc::new(LdapRule {
        name: "staff".into(),
        tenant: TenantPath::parse("acme").unwrap(),
        url: Url::parse(url).unwrap(),
        starttls: false,
        ca: None,
        bind: None,
        user_base: "dc=x".to_owned(),
        user_filter: "(uid={user})".to_owned(),
        groups: Groups::Attribute("memberOf".to_owned()),
        roles: BTreeMap::from([("CN=Devs, DC=x".to_owned(), "developer".to_owned())]),
        attributes: BTreeMap::from([("dep".to_owned(), "departmentNumber".to_owned())]),
        strangers: Strangers::Allow,
        cache_ms: 1_000,
        stale_ms: 5_000,
        timeout: Duration::from_millis(200),
    })
}

fn entry(dn: &str) -> Arc<Entry> {
    Arc::new(Entry {
        dn: dn.to_owned(),
        groups: BTreeSet::from(["cn=devs,dc=x".to_owned()]),
        attributes: BTreeMap::from([("departmentnumber".to_owned(), "7".to_owned())]),
    })
}

fn ada() -> [UserName; 1] {
    [UserName::Level("ada".into())]
}

async fn ask(ldap: &Ldap, rule: &Arc<LdapRule>, now_ms: u64) -> Result<Added, DirectoryFault> {
    let mut added = Added::default();
    ldap.lookup(rule, &ada(), now_ms, &mut added).await.map(|()| added)
}

#[test]
fn names_mean_nothing_in_a_filter() {
    let table = [
        ("ada", "(uid=ada)"),
        ("*", r"(uid=\2a)"),
        ("a)(uid=*", r"(uid=a\29\28uid=\2a)"),
        ("*)(|(uid=*", r"(uid=\2a\29\28|\28uid=\2a)"),
        (r"a\2a", r"(uid=a\5c2a)"),
        ("a\0b", r"(uid=a\00b)"),
        ("{dn}", "(uid={dn})"),
        ("{user}", "(uid={user})"),
        ("ü", "(uid=ü)"),
    ];
    for (name, filter) in table {
        assert_eq!(filter_for("(uid={user})", name, "cn=*"), filter, "{name:?}");
        assert!(ldap3::parse_filter(filter_for("(uid={user})", name, "")).is_ok(), "{name:?}");
    }
    assert_eq!(filter_for("(&(member={dn})(x={user}))", "a", "cn=(1)"), r"(&(member=cn=\281\29)(x=a))");
}

#[test]
fn a_template_is_a_filter_with_a_place_for_the_name() {
    for good in ["(uid={user})", "(&(objectClass=person)(|(uid={user})(mail={user}))(!(locked=TRUE)))"] {
        assert!(is_filter(good, &["{user}"]), "{good}");
    }
    for bad in ["", "{user}", "(uid=ada)", "(uid={user}", "(uid={user}))", "(uid={dn})", "uid={user}"] {
        assert!(!is_filter(bad, &["{user}"]), "{bad}");
    }
    assert!(is_filter("(member={dn})", &["{user}", "{dn}"]));
}

#[test]
fn all_names_of_a_caller_are_those_of_one_entry() {
    let (one, other) = (Answer::One(entry("uid=a")), Answer::One(entry("uid=b")));
    assert_eq!(one_of(vec![]), Ok(None));
    assert_eq!(one_of(vec![Answer::Nobody, one.clone(), one.clone()]), Ok(Some(entry("uid=a"))));
    assert_eq!(one_of(vec![one.clone(), other]), Err(DirectoryFault::Ambiguous));
    assert_eq!(one_of(vec![one, Answer::Several]), Err(DirectoryFault::Ambiguous));
}

#[tokio::test]
async fn the_last_good_answer_counts_while_the_server_is_away_and_no_longer() {
    // A port that nobody listens on: it was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (ldap, rule) = (Ldap::default(), rule(&format!("ldap://127.0.0.1:{port}")));
    assert_eq!(ask(&ldap, &rule, NOW).await, Err(DirectoryFault::Unavailable));
    assert_eq!(ldap.standing(&rule, NOW)["away"], true);
    ldap.desk(&rule).learn("ada", Answer::One(entry("uid=ada")), NOW);
    let added = ask(&ldap, &rule, NOW + 999).await.unwrap();
    assert_eq!(added.roles, BTreeSet::from(["developer".into()]));
    assert_eq!(added.attributes, BTreeMap::from([("dep".to_owned(), "7".to_owned())]));
    assert_eq!(ask(&ldap, &rule, NOW + 5_999).await, Ok(added), "the last good answer");
    assert_eq!(ask(&ldap, &rule, NOW + 6_000).await, Err(DirectoryFault::Unavailable));
    let changed = Arc::new(LdapRule { user_filter: "(mail={user})".to_owned(), ..(*rule).clone() });
    assert_eq!(ask(&ldap, &changed, NOW + 999).await, Err(DirectoryFault::Unavailable), "another rule, nothing known");
}

#[tokio::test]
async fn a_server_that_says_nothing_costs_one_wait_and_then_none() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rule = rule(&format!("ldap://{}", listener.local_addr().unwrap()));
    let ldap = Ldap::default();
    let begun = crate::clock::instant();
    // Many calls of one user are one question.
    let asks = futures_util::future::join_all((0..20).map(|_| ask(&ldap, &rule, NOW)));
    assert!(asks.await.iter().all(|asked| *asked == Err(DirectoryFault::Unavailable)));
    assert!(begun.elapsed() < rule.timeout * 3, "{:?}", begun.elapsed());
    let (begun, accepted) = (crate::clock::instant(), listener.accept().await.unwrap());
    assert_eq!(ask(&ldap, &rule, NOW + AWAY_MS - 1).await, Err(DirectoryFault::Unavailable));
    assert!(begun.elapsed() < rule.timeout, "left alone for a moment");
    let second = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(second.is_err(), "it was asked once");
    drop(accepted);
}

#[tokio::test]
async fn strangers_and_long_names_are_not_let_in_where_the_rule_says_so() {
    let (ldap, plain) = (Ldap::default(), rule("ldap://127.0.0.1:1"));
    let strict = Arc::new(LdapRule { strangers: Strangers::Refuse, ..(*plain).clone() });
    ldap.desk(&strict).learn("ada", Answer::Nobody, NOW);
    assert_eq!(ask(&ldap, &strict, NOW).await, Err(DirectoryFault::Unknown));
    let long = [UserName::Claim("x".repeat(NAME_BYTES_MAX + 1).into())];
    let mut added = Added::default();
    assert_eq!(ldap.lookup(&strict, &long, NOW, &mut added).await, Err(DirectoryFault::Unknown));
    assert_eq!(ldap.lookup(&plain, &long, NOW, &mut added).await, Ok(()), "nobody has such a name");
    ldap.desk(&plain).learn("ada", Answer::Several, NOW);
    assert_eq!(ask(&ldap, &plain, NOW).await, Err(DirectoryFault::Ambiguous));
}
