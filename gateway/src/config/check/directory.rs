//! Directories: names, tenants, tokens, roles and attributes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use url::Url;

use super::Check;
use crate::config::fault::{Doubt, Wrong};
use crate::config::settings::{Secret, TenantRule};
use crate::config::shape::Section;
use crate::identity::directory::entry::fact_place;
use crate::identity::directory::{DirectoryRules, ScimRule, Strangers};
use crate::identity::ldap::{Groups, LdapRule, is_filter};

impl Check<'_> {
    /// Every directory of the file.
    pub(super) fn directory(&mut self, root: &Section<'_>, tenants: &[TenantRule]) -> DirectoryRules {
        let section = root.section("identity").section("directory");
        let mut scim: Vec<Arc<ScimRule>> = Vec::new();
        for section in section.sections("scim") {
            let Some(rule) = self.scim(&section, tenants) else { continue };
            let taken = [
                ("name", scim.iter().any(|other| other.name == rule.name)),
                ("tenant", scim.iter().any(|other| other.tenant == rule.tenant)),
            ];
            for (key, _) in taken.into_iter().filter(|(_, taken)| *taken) {
                let name = section.text(key).unwrap_or_default().to_owned();
                self.fault(section.at(key), Wrong::DuplicateName { name, other: "identity.directory.scim".to_owned() });
            }
            let others = scim.iter().flat_map(|other| &other.tokens);
            if others.into_iter().any(|token| rule.tokens.contains(token)) {
                self.fault(section.at("token"), Wrong::SharedToken);
            }
            scim.push(Arc::new(rule));
        }
        let mut ldap: Vec<Arc<LdapRule>> = Vec::new();
        for section in section.sections("ldap") {
            let Some(rule) = self.ldap(&section, tenants) else { continue };
            let mut names = scim.iter().map(|rule| &rule.name).chain(ldap.iter().map(|rule| &rule.name));
            if names.any(|name| *name == rule.name) {
                let (name, other) = (rule.name.to_string(), "identity.directory".to_owned());
                self.fault(section.at("name"), Wrong::DuplicateName { name, other });
            }
            ldap.push(Arc::new(rule));
        }
        DirectoryRules { scim, ldap }
    }

    fn ldap(&mut self, section: &Section<'_>, tenants: &[TenantRule]) -> Option<LdapRule> {
        let name = self.plain_name(section);
        let text = |key: &str| section.text(key).unwrap_or_default().to_owned();
        let user_filter = text("user_filter");
        if !is_filter(&user_filter, &["{user}"]) {
            self.fault(section.at("user_filter"), Wrong::LdapFilter("`{user}`"));
        }
        let groups = match section.text("group_base") {
            None => Groups::Attribute(text("group_attribute")),
            Some(base) => {
                Groups::Search { base: base.to_owned(), filter: text("group_filter"), name: text("group_name") }
            }
        };
        if let Groups::Search { filter, .. } = &groups
            && !is_filter(filter, &["{user}", "{dn}"])
        {
            self.fault(section.at("group_filter"), Wrong::LdapFilter("`{dn}` or `{user}`"));
        }
        let bind = self.bind(section);
        let starttls = section.bool("starttls");
        let url = self.ldap_url(section, starttls);
        let ca = self.existing(section, "ca_file");
        self.watched.extend(ca.iter().cloned());
        let seconds = |key: &str| section.int(key).unwrap_or_default().saturating_mul(1_000);
        Some(LdapRule {
            name,
            tenant: self.speaks_for(section, tenants)?,
            url: url?,
            starttls,
            ca,
            bind,
            user_base: text("user_base"),
            user_filter,
            groups,
            roles: section.text_map("roles"),
            attributes: section.text_map("attributes"),
            strangers: strangers(section),
            cache_ms: seconds("cache_s"),
            stale_ms: seconds("stale_s"),
            timeout: super::ms(section, "timeout_ms"),
        })
    }

    fn bind(&mut self, section: &Section<'_>) -> Option<(String, Secret)> {
        let password = self.secret(section, "bind_password");
        if section.get("bind_dn").is_some() != section.get("bind_password").is_some() {
            self.fault(section.at("bind_dn"), Wrong::LdapBind);
        }
        Some((section.text("bind_dn")?.to_owned(), password?))
    }

    fn ldap_url(&mut self, section: &Section<'_>, starttls: bool) -> Option<Url> {
        let text = section.text("url").filter(|text| !text.is_empty())?;
        let url = Url::parse(text).ok().filter(|url| {
            let is_bare = url.username().is_empty() && url.password().is_none() && url.query().is_none();
            matches!(url.scheme(), "ldap" | "ldaps") && is_bare && url.host_str().is_some_and(|host| !host.is_empty())
        });
        match &url {
            None => self.fault(section.at("url"), Wrong::LdapUrl),
            Some(url) if url.scheme() == "ldap" && !starttls && !is_near(url) => {
                self.doubt(section.at("url"), Doubt::PlainDirectory(text.to_owned()));
            }
            Some(_) => {}
        }
        url
    }

    fn scim(&mut self, section: &Section<'_>, tenants: &[TenantRule]) -> Option<ScimRule> {
        let name = self.plain_name(section);
        let mut tokens: Vec<Secret> = Vec::new();
        for key in ["token", "next_token"] {
            let token = self.secret(section, key);
            self.long_enough(section.at(key), token.as_ref());
            self.fits_header(section.at(key), token.as_ref());
            tokens.extend(token);
        }
        let attributes = self.facts(section);
        Some(ScimRule {
            name,
            tenant: self.speaks_for(section, tenants)?,
            tokens,
            roles: section.text_map("roles"),
            attributes,
            strangers: strangers(section),
        })
    }

    fn facts(&mut self, section: &Section<'_>) -> BTreeMap<String, String> {
        let mut facts = BTreeMap::new();
        for (name, text) in section.text_map("attributes") {
            match fact_place(&text) {
                Some(place) => drop(facts.insert(name, place)),
                None => self.fault(section.section("attributes").at(&name), Wrong::Fact(text)),
            }
        }
        facts
    }
}

/// The scheme is none of those that are parsed closely, so a host is a text here.
fn is_near(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn strangers(section: &Section<'_>) -> Strangers {
    match section.text("unknown") {
        Some("refuse") => Strangers::Refuse,
        Some(_) | None => Strangers::Allow,
    }
}
