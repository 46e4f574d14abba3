//! OAuth clients: who a client id stands for, however the client became known.

use gatehouse_gateway_config::policy::{ClientGrant, StaticClientConfig};
use unicode_normalization::char::is_combining_mark;

use super::{Hash32, RedirectUri, registration::Registration};

/// The longest name that is kept.
pub const MAX_NAME_CHARS: usize = 64;

/// How a client proves itself at the token endpoint (RFC 7591 section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMethod {
    /// Not at all: a public client.
    None,
    /// By its secret in the body.
    SecretPost,
    /// By its secret in the `Authorization` header.
    SecretBasic,
}

/// The method of a client that signs (RFC 7523 section 2.2), which is not to be registered: its document asks for it.
pub const PRIVATE_KEY_JWT: &str = "private_key_jwt";

impl AuthMethod {
    /// The methods that a client may register. Sealed ids name them by their place here: it never changes.
    pub const REGISTERED: [Self; 3] = [Self::None, Self::SecretPost, Self::SecretBasic];

    /// The registered name.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::SecretPost => "client_secret_post",
            Self::SecretBasic => "client_secret_basic",
        }
    }

    /// Reads the name of a method that a client may register.
    pub fn parse(name: &str) -> Option<Self> {
        Self::REGISTERED.into_iter().find(|method| method.name() == name)
    }
}

/// A client that may come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Its id.
    pub id: String,
    /// What it is called; what it calls itself is unproven, see [`display_name`].
    pub name: Option<String>,
    /// Where its codes may go.
    pub redirect_uris: Vec<RedirectUri>,
    /// How it became known.
    pub origin: Origin,
}

/// How a client became known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// It registered itself.
    Registered {
        /// When, in seconds since 1970.
        issued_at: i64,
        /// How it proves itself.
        auth_method: AuthMethod,
    },
    /// The policy names it.
    Listed(Box<StaticClientConfig>),
    /// Its id is the URL of a document that describes it.
    Document {
        /// Whether it proves itself by assertions that it signs, as far as its document was asked; else it is public.
        by_assertion: bool,
        /// The digest of its document, once that was asked.
        digest: Option<Hash32>,
    },
}

impl Client {
    /// A client that the policy names. `None` for a redirect URI that is malformed, which the operator refuses.
    pub fn listed(config: &StaticClientConfig) -> Option<Self> {
        let uris = config.redirect_uris.iter().map(|uri| RedirectUri::parse(uri).ok());
        Some(Self {
            id: config.client_id.clone(),
            name: Some(config.name.clone().unwrap_or_else(|| config.client_id.clone())),
            redirect_uris: uris.collect::<Option<_>>()?,
            origin: Origin::Listed(Box::new(config.clone())),
        })
    }

    /// The name to show.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or("an unnamed application")
    }

    /// Whether it may use this grant type. Refresh tokens go with authorization codes.
    pub fn may_use(&self, grant: ClientGrant) -> bool {
        match &self.origin {
            Origin::Registered { .. } | Origin::Document { .. } => grant == ClientGrant::AuthorizationCode,
            Origin::Listed(config) => config.grants.contains(&grant),
        }
    }

    /// The scopes that the policy binds it to; `None`: it does not.
    pub fn scopes(&self) -> Option<&[String]> {
        match &self.origin {
            Origin::Registered { .. } | Origin::Document { .. } => None,
            Origin::Listed(config) => config.scopes.as_deref(),
        }
    }
}

impl From<Registration> for Client {
    fn from(registration: Registration) -> Self {
        let Registration { id, metadata } = registration;
        let origin = Origin::Registered { issued_at: metadata.issued_at, auth_method: metadata.auth_method };
        Self { id, name: metadata.name, redirect_uris: metadata.redirect_uris, origin }
    }
}

/// The most combining marks on one letter: more than any script's orthography writes, too few to reach other lines.
const MAX_MARKS: usize = 4;

/// What is kept of a name: no control, direction-changing or invisible characters, no towers of combining marks, single
/// spaces, at most [`MAX_NAME_CHARS`] characters. `None` when nothing is left.
pub fn display_name(text: &str) -> Option<String> {
    let mut marks = 0;
    let mut is_tower = |c: char| {
        marks = if is_combining_mark(c) { marks + 1 } else { 0 };
        marks > MAX_MARKS
    };
    let visible = text.chars().map(|c| if c.is_control() { ' ' } else { c }).filter(|c| !is_invisible(*c));
    let visible: String = visible.filter(|c| !is_tower(*c)).take(MAX_NAME_CHARS * 4).collect();
    let joined = visible.split_whitespace().collect::<Vec<_>>().join(" ");
    let name: String = joined.chars().take(MAX_NAME_CHARS).collect();
    let name = name.trim_end().to_owned();
    (!name.is_empty()).then_some(name)
}

/// Characters that show nothing or turn the direction of text: a name must not hide or reorder what it says. Those that
/// Unicode calls `Default_Ignorable_Code_Point`, marks of format, and blanks that it does not count among white space.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}'
        | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}'
        | '\u{2060}'..='\u{206F}' | '\u{2800}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}'
        | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFC}' | '\u{13430}'..='\u{1343F}' | '\u{13441}' | '\u{13442}'
        | '\u{16FE4}' | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D159}' | '\u{1D173}'..='\u{1D17A}'
        | '\u{E0000}'..='\u{E0FFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_shows_nothing_is_none() {
        let mut blank = String::new();
        for range in [
            0x2800..=0x2800,
            0x115F..=0x1160,
            0x3164..=0x3164,
            0xFFA0..=0xFFA0,
            0x180B..=0x180F,
            0xFFF0..=0xFFFC,
            0x13430..=0x1343F,
            0x13441..=0x13442,
            0x16FE4..=0x16FE4,
            0x1BCA0..=0x1BCA3,
            0x1D159..=0x1D159,
            0x1D173..=0x1D17A,
            0xE0100..=0xE01EF,
            0x2000..=0x200A,
            0x3000..=0x3000,
        ] {
            for c in range.map(|c| char::from_u32(c).unwrap()) {
                assert_eq!(display_name(&c.to_string()), None, "{c:?}");
                blank.push(c);
            }
        }
        assert_eq!(display_name(&blank), None);
        assert_eq!(display_name(&format!("{blank}x")).as_deref(), Some("x"));
    }

    #[test]
    fn names_lose_what_hides_or_reorders() {
        for (given, kept) in [
            ("  Claude\r\nCode ", Some("Claude Code")),
            ("a\u{202E}b\u{200B}c", Some("abc")),
            ("<b>x</b>", Some("<b>x</b>")),
            ("\u{200B}\u{FEFF}", None),
            ("", None),
        ] {
            assert_eq!(display_name(given).as_deref(), kept, "{given:?}");
        }
        let marked = |marks: usize| format!("Z{}a", "\u{301}".repeat(marks));
        assert_eq!(display_name(&marked(60)), Some(marked(4)));
        assert_eq!(display_name(&marked(4)), Some(marked(4)));
        assert_eq!(display_name(&"ä".repeat(100_000)).unwrap().chars().count(), MAX_NAME_CHARS);
    }
}
