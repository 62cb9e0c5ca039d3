//! Flags of the form `--name value`, and the guard that keeps a load generator on its own machine.

use std::net::SocketAddr;
use std::str::FromStr;

use anyhow::{Context, Result, bail};

/// The command line after the program's name.
pub struct Flags(Vec<String>);

impl Flags {
    /// This process's own.
    pub fn from_args() -> Self {
        Self(std::env::args().skip(1).collect())
    }

    /// Every value of a flag that may be given several times.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let pairs = self.0.iter().zip(self.0.iter().skip(1));
        pairs.filter(|(flag, _)| *flag == name).map(|(_, value)| value.as_str()).collect()
    }

    /// The value of a flag, or the default.
    pub fn text<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        self.all(name).last().copied().unwrap_or(default)
    }

    /// A value of another type.
    pub fn parse<T: FromStr>(&self, name: &str, default: T) -> Result<T> {
        match self.all(name).last() {
            None => Ok(default),
            Some(value) => value.parse().ok().with_context(|| format!("`{name} {value}` makes no sense")),
        }
    }

    /// An address of this machine.
    pub fn loopback(&self, name: &str, default: &str) -> Result<SocketAddr> {
        loopback(self.text(name, default))
    }
}

/// An address and port; anything but loopback is refused.
pub fn loopback(text: &str) -> Result<SocketAddr> {
    let address: SocketAddr = text.parse().with_context(|| format!("`{text}` is no address with a port"))?;
    if !address.ip().is_loopback() {
        bail!("`{text}` is not this machine: the benchmark loads loopback addresses only");
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_loaded() {
        assert!(loopback("127.0.0.1:80").is_ok());
        assert!(loopback("[::1]:80").is_ok());
        for other in ["10.0.0.1:80", "0.0.0.0:80", "example.org:80", "[2001:db8::1]:443"] {
            assert!(loopback(other).is_err(), "{other}");
        }
    }

    #[test]
    fn the_last_value_counts_and_lists_keep_all() {
        let flags = Flags(["--a", "1", "--b", "x", "--a", "2"].map(str::to_owned).to_vec());
        assert_eq!(flags.parse("--a", 0).ok(), Some(2));
        assert_eq!(flags.all("--a"), ["1", "2"]);
        assert_eq!(flags.text("--c", "none"), "none");
        assert!(flags.parse("--b", 0).is_err());
    }
}
