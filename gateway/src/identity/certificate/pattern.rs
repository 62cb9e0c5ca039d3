//! Patterns over a certificate's names, and the texts that are made of what they catch. Pure.
//!
//! A name is a list of pieces: a SPIFFE ID's parts, a DNS name's labels, an address' two sides, a common name as a
//! whole. A pattern names each piece: itself, `*` for any, `{part}` for any that is caught, `**` for the rest.

use std::collections::BTreeMap;

/// What a pattern caught, by the part's name.
pub type Captures<'a> = BTreeMap<&'a str, &'a str>;

/// Which of a certificate's names a rule looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameKind {
    /// The SPIFFE ID, a URI.
    Spiffe,
    /// A DNS name.
    Dns,
    /// An e-mail address.
    Email,
    /// The subject's common name.
    CommonName,
}

impl NameKind {
    /// All, with the keys of the configuration.
    pub const ALL: [(&'static str, NameKind); 4] = [
        ("spiffe", NameKind::Spiffe),
        ("dns", NameKind::Dns),
        ("email", NameKind::Email),
        ("common_name", NameKind::CommonName),
    ];

    fn pieces(self, text: &str) -> Vec<&str> {
        match self {
            Self::Spiffe => text.split('/').collect(),
            Self::Dns => text.split('.').collect(),
            // The last `@` divides: what stands before it may be quoted.
            Self::Email => text.rsplit_once('@').map_or_else(|| vec![text], |(who, domain)| vec![who, domain]),
            Self::CommonName => vec![text],
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Exact(String),
    Any,
    Caught(String),
    Rest,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternFault {
    /// A SPIFFE pattern without scheme, trust domain and path, or with wild cards in the first two.
    #[error("`{0}` must be `spiffe://TRUST-DOMAIN/PATH`, with wild cards in the path alone")]
    Spiffe(String),
    /// A wild card beside other characters.
    #[error("`{0}`: `*`, `**` and `{{part}}` stand for a whole piece between separators")]
    Piece(String),
    /// `**` anywhere but at the end of a SPIFFE ID.
    #[error("`{0}`: `**` stands only at the end of a SPIFFE ID")]
    Rest(String),
    /// The same part twice.
    #[error("`{0}`: each `{{part}}` has a name of its own")]
    Twice(String),
}

/// One pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    kind: NameKind,
    pieces: Vec<Piece>,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// It is none for names of that kind.
    pub fn parse(kind: NameKind, text: &str) -> Result<Self, PatternFault> {
        // Such names are compared in lower case; a part's name must survive that.
        let lower = text.to_ascii_lowercase();
        let text = if matches!(kind, NameKind::Dns | NameKind::Email) { &*lower } else { text };
        let pieces: Vec<Piece> =
            kind.pieces(text).into_iter().map(|piece| one(text, piece)).collect::<Result<_, _>>()?;
        let inner = pieces.len().saturating_sub(1);
        if pieces.iter().take(inner).any(|piece| *piece == Piece::Rest)
            || (kind != NameKind::Spiffe && pieces.contains(&Piece::Rest))
        {
            return Err(PatternFault::Rest(text.to_owned()));
        }
        if kind == NameKind::Spiffe {
            let exact = |at: usize| matches!(pieces.get(at), Some(Piece::Exact(_)));
            let is_whole = text.starts_with("spiffe://") && exact(2) && pieces.len() > 3 && !text.ends_with('/');
            if !is_whole || text.starts_with("spiffe:///") {
                return Err(PatternFault::Spiffe(text.to_owned()));
            }
        }
        let pattern = Self { kind, pieces };
        let mut parts: Vec<&str> = pattern.parts().collect();
        parts.sort_unstable();
        match parts.windows(2).any(|pair| pair.first() == pair.last()) {
            true => Err(PatternFault::Twice(text.to_owned())),
            false => Ok(pattern),
        }
    }

    /// Which names it is for.
    pub fn kind(&self) -> NameKind {
        self.kind
    }

    /// Names of the parts that it catches.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Caught(name) => Some(name.as_str()),
            Piece::Exact(_) | Piece::Any | Piece::Rest => None,
        })
    }

    /// What it catches of a name; `None` where it doesn't take it.
    pub fn captures<'a>(&'a self, name: &'a str) -> Option<Captures<'a>> {
        let found = self.kind.pieces(name);
        let fixed = self.pieces.iter().filter(|piece| **piece != Piece::Rest).count();
        // The rest is at least one piece.
        let fits = if fixed == self.pieces.len() { found.len() == fixed } else { found.len() > fixed };
        if !fits {
            return None;
        }
        let mut captures = Captures::new();
        for (piece, text) in self.pieces.iter().zip(&found) {
            match piece {
                Piece::Exact(exact) if exact == text => {}
                Piece::Exact(_) => return None,
                Piece::Any | Piece::Rest if !text.is_empty() => {}
                Piece::Caught(name) if !text.is_empty() && !text.contains(['{', '}']) => {
                    captures.insert(name, text);
                }
                Piece::Any | Piece::Rest | Piece::Caught(_) => return None,
            }
        }
        Some(captures)
    }
}

fn one(whole: &str, piece: &str) -> Result<Piece, PatternFault> {
    let part = piece.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    match (piece, part) {
        ("*", _) => Ok(Piece::Any),
        ("**", _) => Ok(Piece::Rest),
        (_, Some(name)) if is_part(name) => Ok(Piece::Caught(name.to_owned())),
        (_, None) if !piece.contains(['*', '{', '}']) => Ok(Piece::Exact(piece.to_owned())),
        (_, Some(_) | None) => Err(PatternFault::Piece(whole.to_owned())),
    }
}

fn is_part(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// Names of the parts that a template asks for.
pub fn asked(template: &str) -> impl Iterator<Item = &str> {
    template.split('{').skip(1).map(|rest| rest.split('}').next().unwrap_or_default())
}

/// A template with what was caught in its places; a part that was not is left as it stands.
pub fn filled(template: &str, captures: &Captures<'_>) -> String {
    let mut text = template.to_owned();
    for (name, part) in captures {
        // What was caught holds no brace, so nothing is filled in twice.
        text = text.replace(&format!("{{{name}}}"), part);
    }
    text
}
