//! `net.cidr_*`, on ipnet. None of them resolves a name.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use regorus::Value;

use super::{Answer, Failed, arg, kind, text_arg};

/// A network, with the address's own bits cut off; a plain address where `alone` gives it a length.
fn network(text: &str) -> Result<IpNet, Failed> {
    let net: IpNet = text.parse().map_err(|_| Failed::new("invalid CIDR"))?;
    Ok(net.trunc())
}

/// Whether two networks share an address.
pub(super) fn intersects(args: &[Value]) -> Answer {
    let (a, b) = (network(text_arg(args, 0)?)?, network(text_arg(args, 1)?)?);
    Ok(Value::from(a.contains(&b) || b.contains(&a)))
}

/// The old name of `net.cidr_contains`.
pub(super) fn overlap(args: &[Value]) -> Answer {
    Ok(Value::from(contains(text_arg(args, 0)?, text_arg(args, 1)?)?))
}

/// Whether a network holds an address or another network.
fn contains(outer: &str, inner: &str) -> Result<bool, Failed> {
    let outer = network(outer)?;
    match inner.parse::<IpAddr>() {
        Ok(address) => Ok(outer.contains(&address)),
        Err(_) => Ok(outer.contains(&network(inner)?)),
    }
}

/// Every pair of a network and what it contains: texts stand for themselves, items by their index, members by their
/// name.
pub(super) fn contains_matches(args: &[Value]) -> Answer {
    let (nets, addresses) = (named(args, 0)?, named(args, 1)?);
    let mut found = std::collections::BTreeSet::new();
    for (net_name, net) in &nets {
        for (name, address) in &addresses {
            if contains(net, address)? {
                found.insert(Value::from(vec![net_name.clone(), name.clone()]));
            }
        }
    }
    Ok(Value::from(found))
}

/// The texts of an operand, each with what it is called.
fn named(args: &[Value], at: usize) -> Result<Vec<(Value, String)>, Failed> {
    let wrong = || Failed::new(format!("operand {}: element must be string or non-empty array", at.saturating_add(1)));
    let text = |value: &Value| -> Result<String, Failed> {
        let first = if let Value::Array(items) = value { items.first() } else { Some(value) };
        first.and_then(|first| first.as_string().ok()).map(|text| text.to_string()).ok_or_else(wrong)
    };
    let operand = arg(args, at)?;
    match operand {
        Value::String(single) => Ok(vec![(operand.clone(), single.to_string())]),
        Value::Array(items) => {
            (0_u64..).zip(items.iter()).map(|(at, item)| Ok((Value::from(at), text(item)?))).collect()
        }
        Value::Set(items) => items.iter().map(|item| Ok((item.clone(), text(item)?))).collect(),
        Value::Object(members) => members.iter().map(|(name, item)| Ok((name.clone(), text(item)?))).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Undefined => Err(Failed::new(format!(
            "operand {} must be one of {{string, array, set, object}} but got {}",
            at.saturating_add(1),
            kind(operand)
        ))),
    }
}

/// The smallest set of networks that holds the same addresses. An IPv4 address without a length has that of its class.
pub(super) fn merge(args: &[Value]) -> Answer {
    let operand = arg(args, 0)?;
    let items: Vec<&Value> = if let Value::Array(items) = operand {
        items.iter().collect()
    } else if let Value::Set(items) = operand {
        items.iter().collect()
    } else {
        return Err(Failed::new("operand must be an array or a set"));
    };
    let (mut fours, mut sixes): (Vec<Ipv4Net>, Vec<Ipv6Net>) = (Vec::new(), Vec::new());
    for item in items {
        let text = item.as_string().map_err(|_| Failed::new("operand must be a list of strings"))?;
        match merged_network(text)? {
            IpNet::V4(net) => fours.push(net),
            IpNet::V6(net) => sixes.push(net),
        }
    }
    let fours = Ipv4Net::aggregate(&fours).into_iter().map(IpNet::V4);
    let sixes = Ipv6Net::aggregate(&sixes).into_iter().map(IpNet::V6);
    let texts = fours.chain(sixes).map(|net| Value::from(net.to_string()));
    Ok(Value::from(texts.collect::<std::collections::BTreeSet<_>>()))
}

fn merged_network(text: &str) -> Result<IpNet, Failed> {
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => {
            let net = Ipv4Net::new(address, class_length(address)).map_err(|fault| Failed::new(fault.to_string()))?;
            Ok(IpNet::V4(net.trunc()))
        }
        Ok(IpAddr::V6(_)) => Err(Failed::new("IPv6 invalid: needs prefix length")),
        Err(_) => network(text),
    }
}

/// Prefix length of an address's class (RFC 791).
fn class_length(address: Ipv4Addr) -> u8 {
    match address.octets() {
        [0..=127, ..] => 8,
        [128..=191, ..] => 16,
        [192..=255, ..] => 24,
    }
}
