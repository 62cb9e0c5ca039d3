//! One question to an LDAP server: connect, say who we are, find the user, find the groups, leave.
//!
//! A connection for each question: nothing is left over between two users, and a server that restarts costs nothing
//! more. Answers are remembered, so questions are few.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, Scope, SearchEntry, SearchOptions, ldap_escape};
use tokio_rustls::rustls::ClientConfig;

use super::{Answer, AskFault, Entry, Groups, LdapRule, folded_dn};

/// Entries that are taken for a user: a second one is one too many.
const USERS_MAX: i32 = 2;
/// Groups of one user; more is refused, because roles that take something away could be among the rest.
const GROUPS_MAX: i32 = 500;
/// LDAP's result code for a search that found more than was asked for (RFC 4511, section 4.1.9).
const SIZE_LIMIT: u32 = 4;
/// Bytes of an attribute's text; a longer one is left out.
const TEXT_BYTES_MAX: usize = 1_024;

/// A filter with a name in it, escaped as RFC 4515, section 3, demands: `*`, `(`, `)`, `\` and NUL mean nothing.
pub fn filter_for(template: &str, user: &str, dn: &str) -> String {
    // Each piece is filled by itself, so that what is put in is never looked through for more.
    let pieces = template.split("{user}").map(|piece| piece.replace("{dn}", &ldap_escape(dn)));
    pieces.collect::<Vec<_>>().join(&ldap_escape(user))
}

/// Whether a template is a filter once names are in it, and has one of these places for them.
pub fn is_filter(template: &str, places: &[&str]) -> bool {
    // The crate takes a filter without its brackets too, which no other tool does.
    template.starts_with('(')
        && places.iter().any(|place| template.contains(place))
        && ldap3::parse_filter(filter_for(template, "x", "cn=x")).is_ok()
}

/// Asks.
///
/// # Errors
/// No connection, no right, no answer: nothing of the user is known then.
pub(super) async fn ask(rule: &LdapRule, tls: Option<Arc<ClientConfig>>, name: &str) -> Result<Answer, AskFault> {
    let settings = LdapConnSettings::new().set_starttls(rule.starttls);
    let settings = if let Some(tls) = tls { settings.set_config(tls) } else { settings };
    let (connection, ldap) = LdapConnAsync::from_url_with_settings(settings, &rule.url).await.map_err(server)?;
    // The connection moves the bytes; it ends with the question.
    tokio::select! {
        biased;
        answer = talk(rule, ldap, name) => answer,
        ended = connection.drive() => Err(ended.err().map_or(AskFault::Malformed, server)),
    }
}

fn server(fault: impl std::fmt::Display) -> AskFault {
    AskFault::Server(fault.to_string())
}

async fn talk(rule: &LdapRule, mut ldap: Ldap, name: &str) -> Result<Answer, AskFault> {
    if let Some((dn, password)) = &rule.bind {
        let password = std::str::from_utf8(password.expose()).map_err(server)?;
        // An empty password would be an anonymous bind that looks like another (RFC 4513, section 5.1.2).
        if password.is_empty() {
            return Err(AskFault::Server("the password is empty".to_owned()));
        }
        ldap.simple_bind(dn, password).await.and_then(ldap3::LdapResult::success).map_err(server)?;
    }
    let wanted: Vec<&str> = match &rule.groups {
        Groups::Attribute(attribute) => rule.attributes.values().chain([attribute]).map(String::as_str).collect(),
        // `1.1` asks for no attribute at all (RFC 4511, section 4.5.1.8).
        Groups::Search { .. } => rule.attributes.values().map(String::as_str).chain(["1.1"]).collect(),
    };
    let filter = filter_for(&rule.user_filter, name, "");
    ldap.with_search_options(SearchOptions::new().sizelimit(USERS_MAX));
    let (mut found, rc) = search(&mut ldap, &rule.user_base, &filter, &wanted).await?;
    let user = match (found.pop(), found.is_empty(), rc) {
        (None, _, 0) => return Ok(Answer::Nobody),
        (Some(user), true, 0) => user,
        _ => return Ok(Answer::Several),
    };
    let groups = match &rule.groups {
        Groups::Attribute(attribute) => values(&user, attribute).map(|group| folded_dn(group)).collect(),
        Groups::Search { base, filter, name: by } => {
            let filter = filter_for(filter, name, &user.dn);
            ldap.with_search_options(SearchOptions::new().sizelimit(GROUPS_MAX));
            let (groups, rc) = search(&mut ldap, base, &filter, &[by]).await?;
            if rc != 0 {
                return Err(AskFault::Server(format!("the user has more than {GROUPS_MAX} groups")));
            }
            let names =
                groups.iter().flat_map(|group| values(group, by).map(|name| folded_dn(name)).collect::<Vec<_>>());
            names.collect::<BTreeSet<_>>()
        }
    };
    // Nothing is lost where the server is gone before it reads this.
    ldap.unbind().await.unwrap_or(());
    let attributes = rule.attributes.values().filter_map(|name| {
        let text = values(&user, name).next().filter(|text| text.len() <= TEXT_BYTES_MAX)?;
        Some((name.to_lowercase(), text.clone()))
    });
    let attributes: BTreeMap<String, String> = attributes.collect();
    Ok(Answer::One(Arc::new(Entry { dn: folded_dn(&user.dn), groups, attributes })))
}

/// Entries, and the result code: 0, or [`SIZE_LIMIT`].
async fn search(
    ldap: &mut Ldap,
    base: &str,
    filter: &str,
    wanted: &[&str],
) -> Result<(Vec<SearchEntry>, u32), AskFault> {
    let result = ldap.search(base, Scope::Subtree, filter, wanted.to_vec()).await.map_err(server)?;
    let ldap3::SearchResult(entries, result) = result;
    match result.rc {
        0 | SIZE_LIMIT => Ok((entries.into_iter().map(SearchEntry::construct).collect(), result.rc)),
        _ => Err(server(result)),
    }
}

/// Values of an attribute; servers write names as they like.
fn values<'a>(entry: &'a SearchEntry, name: &str) -> impl Iterator<Item = &'a String> {
    let all = entry.attrs.iter().find(|(found, _)| found.eq_ignore_ascii_case(name));
    all.into_iter().flat_map(|(_, values)| values)
}
