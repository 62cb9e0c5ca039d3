//! Whether a proof's `htu` is the address of a request (RFC 9449, section 4.3, check 9). Pure.
//!
//! Both are compared after the normalisations of RFC 3986, sections 6.2.2 and 6.2.3: case of scheme, host and escapes,
//! escapes that need not be, dot segments, the scheme's own port, an empty path. Query and fragment count for nothing.

use url::Url;

/// Whether `said` is the address of `path` at a gateway that clients reach at `base`.
pub fn is_for(said: &str, base: &Url, path: &str) -> bool {
    // What a browser would forgive is no URI: blanks, line breaks, backslashes.
    let is_plain = said.bytes().all(|b| b.is_ascii_graphic() && !b"\\\"<>^`{|}".contains(&b));
    let Some(said) = Url::parse(said).ok().filter(|_| is_plain) else { return false };
    let expected = format!("{}{path}", base.path().trim_end_matches('/'));
    let same_place = said.scheme() == base.scheme()
        && said.host() == base.host()
        && said.port_or_known_default() == base.port_or_known_default();
    same_place
        && said.host().is_some()
        && said.username().is_empty()
        && said.password().is_none()
        && plain_path(said.path()) == plain_path(&expected)
}

/// Escapes in upper case, and none of a character that needs none.
fn plain_path(path: &str) -> String {
    let mut plain = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        plain.push_str(before);
        let byte = after.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        rest = match byte {
            Some(byte) => {
                let is_unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
                plain.push_str(&if is_unreserved { char::from(byte).to_string() } else { format!("%{byte:02X}") });
                after.get(2..).unwrap_or_default()
            }
            None => {
                plain.push('%');
                after
            }
        };
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_may_be_written_in_many_ways_and_no_other_is_it() {
        let base = Url::parse("https://ai.example.com").unwrap();
        let path = "/v1/chat/completions";
        for same in [
            "https://ai.example.com/v1/chat/completions",
            "HTTPS://AI.Example.COM:443/v1/chat/completions",
            "https://ai.example.com/v1/x/../chat/./completions",
            "https://ai.example.com/v1/ch%61t/completion%73",
            "https://ai.example.com/v1/chat/completions?a=b#c",
        ] {
            assert!(is_for(same, &base, path), "{same}");
        }
        for other in [
            "http://ai.example.com/v1/chat/completions",
            "https://ai.example.com:8443/v1/chat/completions",
            "https://ai.example.com.evil.org/v1/chat/completions",
            "https://evil.org/v1/chat/completions",
            "https://user@ai.example.com/v1/chat/completions",
            "https://ai.example.com/v1/chat/completions/",
            "https://ai.example.com/v1/Chat/completions",
            "https://ai.example.com/v1%2Fchat/completions",
            "https://ai.example.com/v1/chat\\completions",
            "https://ai.example.com/v1/chat/comple\ttions",
            " https://ai.example.com/v1/chat/completions",
            "https://ai.example.com/v1/models",
            "/v1/chat/completions",
            "",
        ] {
            assert!(!is_for(other, &base, path), "{other}");
        }
    }

    #[test]
    fn a_gateway_below_a_path_is_reached_there() {
        for base in ["http://gw.example:8080/weir", "http://gw.example:8080/weir/"] {
            let base = Url::parse(base).unwrap();
            assert!(is_for("http://gw.example:8080/weir/v1/models/a%2fb", &base, "/v1/models/a%2Fb"));
            assert!(!is_for("http://gw.example:8080/v1/models/a%2Fb", &base, "/v1/models/a%2Fb"));
        }
    }
}
