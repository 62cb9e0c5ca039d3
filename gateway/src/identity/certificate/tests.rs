//! Patterns, names, chains: what is taken, and each reason why not.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};

use super::connection::Judges;
use super::trust::Trust;
use super::*;
use crate::config::settings::ClientTrust;

/// 2027-01-15, within the life of the certificates below.
const NOW_MS: u64 = 1_800_000_000_000;

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn dns(text: &str) -> SanType {
    SanType::DnsName(text.try_into().unwrap())
}

/// An authority; its certificate in PEM.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate in DER.
    fn signs(&self, names: Vec<SanType>, change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = names;
        change(&mut params);
        params.signed_by(&KeyPair::generate().unwrap(), &self.issuer).unwrap().der().to_vec()
    }

    fn revokes(&self, serial: u64, next_year: i32) -> String {
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, 1),
            next_update: date_time_ymd(next_year, 1, 10),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

fn rule(kind: NameKind, pattern: &str, tenant: &str) -> Arc<CertificateRule> {
    Arc::new(CertificateRule {
        name: "mesh".into(),
        pattern: Pattern::parse(kind, pattern).unwrap(),
        tenant: tenant.to_owned(),
        roles: vec!["developer".into()],
        attributes: BTreeMap::from([("from".to_owned(), "mesh".to_owned())]),
    })
}

fn names(spiffe: Option<&str>, dns: &[&str], common_name: Option<&str>) -> Names {
    Names {
        spiffe: spiffe.map(str::to_owned),
        dns: dns.iter().map(|name| (*name).to_owned()).collect(),
        emails: vec!["ada@acme.example".to_owned()],
        common_name: common_name.map(str::to_owned),
        serial: "5f".to_owned(),
        sha256: [7; 32],
        valid_s: (0, i64::MAX),
    }
}

#[test]
fn a_pattern_takes_a_name_piece_by_piece() {
    use NameKind::{CommonName, Dns, Email, Spiffe};
    let table = [
        (Spiffe, "spiffe://a.example/ns/{team}/sa/*", "spiffe://a.example/ns/red/sa/web", Some("red")),
        (Spiffe, "spiffe://a.example/ns/{team}/sa/*", "spiffe://a.example/ns/red/sa/web/x", None),
        (Spiffe, "spiffe://a.example/ns/{team}/sa/*", "spiffe://a.example/ns/red/sa", None),
        (Spiffe, "spiffe://a.example/ns/{team}/sa/*", "spiffe://b.example/ns/red/sa/web", None),
        (Spiffe, "spiffe://a.example/{team}/**", "spiffe://a.example/red/x/y", Some("red")),
        (Spiffe, "spiffe://a.example/{team}/**", "spiffe://a.example/red", None),
        (Dns, "{team}.Agents.example", "red.agents.example", Some("red")),
        (Dns, "{team}.agents.example", "red.x.agents.example", None),
        (Dns, "{team}.agents.example", "agents.example", None),
        (Email, "{team}@acme.example", "red@acme.example", Some("red")),
        (Email, "{team}@acme.example", "red@acme.example@evil.example", None),
        (CommonName, "{team}", "red", Some("red")),
        (CommonName, "{team}", "{team}", None),
        (CommonName, "red", "Red", None),
    ];
    for (kind, pattern, name, team) in table {
        let pattern = Pattern::parse(kind, pattern).unwrap();
        let caught = pattern.captures(name).map(|captures| captures.get("team").copied().unwrap_or_default());
        assert_eq!(caught, team, "{pattern:?} {name}");
    }
    for (kind, wrong) in [
        (Spiffe, "spiffe://*/x"),
        (Spiffe, "spiffe://a.example"),
        (Spiffe, "spiffe://a.example/"),
        (Spiffe, "https://a.example/x"),
        (Spiffe, "spiffe:///x/y"),
        (Spiffe, "spiffe://a.example/**/x"),
        (Spiffe, "spiffe://a.example/x*"),
        (Spiffe, "spiffe://a.example/{a}/{a}"),
        (Dns, "**.example"),
        (Dns, "{Te am}.example"),
        (CommonName, "{}"),
    ] {
        assert!(Pattern::parse(kind, wrong).is_err(), "{wrong}");
    }
}

#[test]
fn the_first_rule_that_takes_a_name_decides_and_two_callers_are_none() {
    let rules = [
        rule(NameKind::Spiffe, "spiffe://a.example/ns/{team}/**", "acme/{team}"),
        rule(NameKind::Dns, "{team}.agents.example", "acme/{team}"),
        rule(NameKind::CommonName, "{team}", "acme/by-name/{team}"),
    ];
    let caller = |names: &Names| caller(&rules, names).map(|spoken| spoken.tenant.to_string());
    let spiffe = Some("spiffe://a.example/ns/red/sa/web");
    assert_eq!(caller(&names(spiffe, &["blue.agents.example"], None)), Ok("acme/red".to_owned()));
    let elsewhere = Some("spiffe://b.example/ns/red/sa/web");
    let other = names(elsewhere, &["blue.agents.example"], Some("blue"));
    assert_eq!(
        caller(&other),
        Err(CertificateFault::NoRule),
        "an id of another domain is nobody, whatever else it says"
    );
    assert_eq!(caller(&names(None, &["x.example", "blue.agents.example"], None)), Ok("acme/blue".to_owned()));
    let two = names(None, &["red.agents.example", "blue.agents.example"], None);
    assert_eq!(caller(&two), Err(CertificateFault::Ambiguous));
    assert_eq!(caller(&names(None, &[], Some("batch"))), Ok("acme/by-name/batch".to_owned()));
    for wrong in ["../globex", "a/b", "Batch", ""] {
        assert_eq!(caller(&names(None, &[], Some(wrong))).map_err(|_| ()), Err(()), "{wrong}");
    }
}

#[test]
fn the_key_id_stands_for_the_name_and_does_not_tell_it() {
    let rules = [rule(NameKind::Email, "*@acme.example", "acme")];
    let spoken = caller(&rules, &names(None, &[], None)).unwrap();
    assert!(spoken.key.0.starts_with("cert.mesh.") && !spoken.key.0.contains("ada"), "{}", spoken.key);
    assert_eq!(spoken.key, caller(&rules, &names(None, &["x.example"], Some("y"))).unwrap().key);
}

#[test]
fn a_certificate_with_a_spiffe_id_is_held_to_its_rules() {
    let authority = Authority::new("one");
    let id = "spiffe://a.example/ns/red/sa/web";
    let read = |names: Vec<SanType>, change: fn(&mut CertificateParams)| {
        Names::read(&authority.signs(names, change)).map(|names| names.spiffe)
    };
    assert_eq!(read(vec![uri(id), dns("x.example")], |_| {}), Ok(Some(id.to_owned())));
    assert_eq!(read(vec![uri("https://a.example/")], |_| {}), Ok(None));
    let both = |other: &str| read(vec![uri(id), uri(other)], |_| {});
    assert_eq!(both("spiffe://a.example/ns/blue/sa/web"), Err(CertificateFault::ManyUris));
    assert_eq!(both("https://a.example/"), Err(CertificateFault::ManyUris));
    for wrong in [
        "spiffe://a.example",
        "spiffe://a.example/",
        "spiffe://a.example/a//b",
        "spiffe://a.example/../b",
        "spiffe://A.example/b",
        "SPIFFE://a.example/b",
        "spiffe://a.example:80/b",
        "spiffe://a.example/b?c",
        "spiffe://a.example/b%2fc",
    ] {
        assert_eq!(read(vec![uri(wrong)], |_| {}), Err(CertificateFault::SpiffeId), "{wrong}");
    }
    let ca = |params: &mut CertificateParams| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    assert_eq!(read(vec![uri(id)], ca), Err(CertificateFault::SpiffeAuthority));
    let signs = |params: &mut CertificateParams| params.key_usages = vec![KeyUsagePurpose::CrlSign];
    assert_eq!(read(vec![uri(id)], signs), Err(CertificateFault::SpiffeAuthority));
    assert_eq!(Names::read(b"no certificate"), Err(CertificateFault::Malformed));
}

#[test]
fn serials_are_compared_without_zeros_and_colons() {
    let der = Authority::new("one").signs(Vec::new(), |params| {
        params.serial_number = Some(SerialNumber::from(vec![0, 0x8f, 0x0a]));
        params.distinguished_name.push(DnType::CommonName, "batch");
    });
    let names = Names::read(&der).unwrap();
    assert_eq!((names.serial.as_str(), names.common_name.as_deref()), ("8f0a", Some("batch")));
    let denied = DeniedCertificates { serials: HashSet::from([names::plain_serial("00:8F:0a")]), ..Default::default() };
    assert!(denied.names(&names));
    let denied = DeniedCertificates { hashes: HashSet::from([names.sha256]), ..Default::default() };
    assert!(denied.names(&names) && !DeniedCertificates::default().names(&names));
}

/// What one World says of a certificate.
fn judged(presented: &ClientCertificate, revision: u64, files: &ClientTrust, now_ms: u64) -> &'static str {
    let (trusts, denied) = ([Some(Trust::new(files).unwrap())], DeniedCertificates::default());
    let judges = Judges { revision, trusts: &trusts, denied: &denied };
    presented.judged(judges, now_ms).map_or_else(CertificateFault::code, |_| "good")
}

fn presented(der: &[u8]) -> ClientCertificate {
    ClientCertificate::new(0, vec![pingora::tls::CertificateDer::from(der.to_vec())])
}

fn trust(authority: &Authority, crl: Option<&str>) -> ClientTrust {
    ClientTrust { ca: authority.pem.as_bytes().into(), crl: crl.map(|text| text.as_bytes().into()) }
}

#[test]
fn a_chain_is_judged_by_authority_time_purpose_and_revocation() {
    let (authority, other) = (Authority::new("one"), Authority::new("other"));
    let der = |change: fn(&mut CertificateParams)| authority.signs(vec![uri("spiffe://a.example/x")], change);
    let good = der(|params| params.serial_number = Some(SerialNumber::from(7_u64)));
    let (revoked, old) = (authority.revokes(7, 2099), authority.revokes(8, 2026));
    let covered = authority.revokes(8, 2099);
    let table = [
        (good.clone(), trust(&authority, None), "good"),
        (good.clone(), trust(&other, None), "certificate_untrusted"),
        (good.clone(), trust(&authority, Some(&revoked)), "certificate_revoked"),
        (good.clone(), trust(&authority, Some(&covered)), "good"),
        (good.clone(), trust(&authority, Some(&old)), "certificate_revocation_unknown"),
        (good, trust(&authority, Some(&other.revokes(1, 2099))), "certificate_revocation_unknown"),
        (der(|params| params.not_after = date_time_ymd(2026, 6, 1)), trust(&authority, None), "certificate_expired"),
        (
            der(|params| params.not_before = date_time_ymd(2028, 1, 1)),
            trust(&authority, None),
            "certificate_not_yet_valid",
        ),
        (
            der(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
            trust(&authority, None),
            "certificate_purpose",
        ),
        (b"no certificate".to_vec(), trust(&authority, None), "certificate_malformed"),
    ];
    for (der, files, verdict) in table {
        assert_eq!(judged(&presented(&der), 1, &files, NOW_MS), verdict);
    }
}

#[test]
fn a_connection_that_stays_open_is_judged_by_each_revision_and_by_the_clock() {
    let authority = Authority::new("one");
    let der = authority.signs(vec![dns("a.example")], |params| {
        params.serial_number = Some(SerialNumber::from(7_u64));
        params.not_after = date_time_ymd(2027, 2, 1);
    });
    let (open, files) = (presented(&der), trust(&authority, None));
    let revoked = trust(&authority, Some(&authority.revokes(7, 2099)));
    assert_eq!(judged(&open, 1, &files, NOW_MS), "good");
    assert_eq!(judged(&open, 1, &revoked, NOW_MS), "good", "a verdict counts within its revision");
    assert_eq!(judged(&open, 2, &revoked, NOW_MS), "certificate_revoked");
    assert_eq!(judged(&open, 3, &files, NOW_MS), "good");
    assert_eq!(judged(&open, 3, &revoked, NOW_MS + 60_000), "certificate_revoked", "and for a minute at most");
    let after_its_end_ms = 1_801_500_000_000;
    assert_eq!(judged(&open, 4, &files, after_its_end_ms), "certificate_expired");
}

#[test]
fn files_that_vouch_for_nobody_are_faults() {
    let authority = Authority::new("one");
    let fault = |ca: &str, crl: Option<&str>| {
        Trust::new(&ClientTrust { ca: ca.as_bytes().into(), crl: crl.map(|text| text.as_bytes().into()) }).unwrap_err()
    };
    let garbage = |block: &str| format!("-----BEGIN {block}-----\nZ2FyYmFnZQ==\n-----END {block}-----\n");
    assert!(fault("", None).contains("client_ca"));
    assert!(fault(&garbage("CERTIFICATE"), None).contains("client_ca"));
    assert!(fault(&authority.pem, Some("")).contains("client_crl"));
    assert!(fault(&authority.pem, Some(&garbage("X509 CRL"))).contains("client_crl"));
}
