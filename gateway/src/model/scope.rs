//! OAuth scopes (RFC 6749 section 3.3): which there are, what a request is granted, what a token is good for.
//!
//! What a client holds is decided anew on each use, because groups and the configuration change: the names in its
//! grant, of which the user may still be granted some, and what these include.

use gatehouse_gateway_config::{AccessRule, ScopeConfig, scope::IMPLICIT};

use super::{Profile, access};

/// Asked for by clients that want refresh tokens, which everyone gets; accepted, never granted by name.
pub const OFFLINE_ACCESS: &str = "offline_access";
/// The most scopes that a server has.
const MAX_SCOPES: usize = 64;
/// More tokens than this in one request are not read.
const MAX_TOKENS: usize = 96;

/// The scopes of one server, prepared once.
#[derive(Debug)]
pub struct Scopes {
    declared: Vec<Scope>,
    /// What the client policy lets clients have.
    available: ScopeSet,
    default: ScopeSet,
}

#[derive(Debug)]
struct Scope {
    config: ScopeConfig,
    /// Itself, and all that it includes, directly or not.
    covers: ScopeSet,
}

/// Some of the scopes of one [`Scopes`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScopeSet(u64);

/// Why scopes are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScopesError {
    /// Too many.
    #[error("scopes: at most {MAX_SCOPES} are served")]
    TooMany,
    /// A name that cannot be, or is there twice.
    #[error("scopes: \"{0}\" is not a scope-token, is reserved, or is there twice")]
    Name(String),
    /// A name that no scope has.
    #[error("scopes: there is no scope \"{0}\"")]
    Unknown(String),
}

impl ScopeSet {
    /// Whether it holds nothing.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `other` is here.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// What is in one of them.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    fn one(index: usize) -> Self {
        Self(1 << index)
    }
}

impl Scopes {
    /// The scopes of a server; `policy`: what clients may be granted of them.
    ///
    /// # Errors
    /// When a name is malformed, reserved, doubled or unknown.
    pub fn new(scopes: &[ScopeConfig], policy: Option<&[String]>) -> Result<Self, ScopesError> {
        let implicit = [ScopeConfig { name: IMPLICIT.to_owned(), default: true, ..ScopeConfig::default() }];
        let configs = if scopes.is_empty() { &implicit } else { scopes };
        if configs.len() > MAX_SCOPES {
            return Err(ScopesError::TooMany);
        }
        for (index, config) in configs.iter().enumerate() {
            let twice = configs[..index].iter().any(|other| other.name == config.name);
            if twice || !is_token(&config.name) || config.name == OFFLINE_ACCESS {
                return Err(ScopesError::Name(config.name.clone()));
            }
        }
        let plain = |config: &ScopeConfig| Scope { config: config.clone(), covers: ScopeSet::default() };
        let mut all = Self {
            declared: configs.iter().map(plain).collect(),
            available: ScopeSet::default(),
            default: ScopeSet::default(),
        };
        for index in 0..all.declared.len() {
            all.declared[index].covers = all.reach(index)?;
        }
        let allowed = |name: &String| policy.is_none_or(|policy| policy.contains(name));
        all.available = all.those(|config| allowed(&config.name));
        all.default = all.those(|config| config.default).intersection(all.available);
        Ok(all)
    }

    /// All that a scope includes, and itself. A cycle ends where it began.
    fn reach(&self, index: usize) -> Result<ScopeSet, ScopesError> {
        let (mut reached, mut open) = (ScopeSet::default(), vec![index]);
        while let Some(next) = open.pop() {
            if !reached.contains(ScopeSet::one(next)) {
                reached = reached.union(ScopeSet::one(next));
                for name in &self.declared[next].config.includes {
                    open.push(self.index(name).ok_or_else(|| ScopesError::Unknown(name.clone()))?);
                }
            }
        }
        Ok(reached)
    }

    fn index(&self, name: &str) -> Option<usize> {
        self.declared.iter().position(|scope| scope.config.name == name)
    }

    fn those(&self, mut is: impl FnMut(&ScopeConfig) -> bool) -> ScopeSet {
        let chosen = self.declared.iter().enumerate().filter(|(_, scope)| is(&scope.config));
        chosen.fold(ScopeSet::default(), |set, (index, _)| set.union(ScopeSet::one(index)))
    }

    /// The names that clients may ask for.
    pub fn supported(&self) -> Vec<&str> {
        self.names(self.available)
    }

    /// What a client should ask for first: the defaults, or everything where the policy leaves no default.
    pub fn basic(&self) -> ScopeSet {
        if self.default.is_empty() { self.available } else { self.default }
    }

    /// The names of some scopes, in the order of the configuration.
    pub fn names(&self, set: ScopeSet) -> Vec<&str> {
        self.configs(set).map(|config| config.name.as_str()).collect()
    }

    /// As [`Scopes::names`], space-separated.
    pub fn text(&self, set: ScopeSet) -> String {
        self.names(set).join(" ")
    }

    /// What is configured of some scopes.
    pub fn configs(&self, set: ScopeSet) -> impl Iterator<Item = &ScopeConfig> {
        let chosen = self.declared.iter().enumerate().filter(move |(i, _)| set.contains(ScopeSet::one(*i)));
        chosen.map(|(_, scope)| &scope.config)
    }

    /// The set of these names.
    ///
    /// # Errors
    /// When one is not a scope of this server.
    pub fn set(&self, names: &[String]) -> Result<ScopeSet, ScopesError> {
        names.iter().try_fold(ScopeSet::default(), |set, name| {
            let index = self.index(name).ok_or_else(|| ScopesError::Unknown(name.clone()))?;
            Ok(set.union(ScopeSet::one(index)))
        })
    }

    /// What a client may be granted that the policy binds to these scopes; `None`: all that clients may.
    pub fn of_client(&self, bound: Option<&[String]>) -> ScopeSet {
        let may = |config: &ScopeConfig| bound.is_none_or(|bound| bound.contains(&config.name));
        self.those(may).intersection(self.available)
    }

    /// What a request for `requested` can be granted to a client that may have `client`, whoever the user is. Absent or
    /// empty: the defaults, or all of the client's where it may have none of them. Scopes that the server does not have,
    /// or that the policy keeps from the client, are left out, and the token response says what is left.
    ///
    /// `None` when the text is malformed, or when nothing is left: `invalid_scope`.
    pub fn asked(&self, requested: Option<&str>, client: ScopeSet) -> Option<ScopeSet> {
        let tokens: Vec<&str> = requested.unwrap_or_default().split(' ').filter(|t| !t.is_empty()).collect();
        if tokens.len() > MAX_TOKENS || !tokens.iter().all(|token| is_token(token)) {
            return None;
        }
        let named = self.those(|config| tokens.contains(&config.name.as_str()));
        let by_name = tokens.iter().any(|token| *token != OFFLINE_ACCESS);
        let basic = match self.default.intersection(client) {
            none if none.is_empty() && !self.default.is_empty() => client,
            basic => basic,
        };
        let asked = self.within(if by_name { named } else { basic }, client);
        (!asked.is_empty()).then_some(asked)
    }

    /// What a refresh asks for; nothing: all that was granted. `None`, `invalid_scope`, when it names something that was
    /// never granted, since the server does not have it (RFC 6749 section 6).
    pub fn narrowing(&self, requested: &str) -> Option<ScopeSet> {
        let tokens = requested.split(' ').filter(|t| !t.is_empty() && *t != OFFLINE_ACCESS);
        tokens
            .take(MAX_TOKENS)
            .try_fold(ScopeSet::default(), |set, name| Some(set.union(ScopeSet::one(self.index(name)?))))
    }

    /// What a user holds of a grant's scope by a client that may have `client`.
    pub fn held(&self, granted: &str, profile: &Profile, client: ScopeSet) -> ScopeSet {
        self.within(
            self.those(|config| granted.split(' ').any(|name| name == config.name)),
            self.grantable(profile).intersection(client),
        )
    }

    /// What a token is good for: what the user holds of its grant's scope by its client, less where it was narrowed by a
    /// refresh. A narrowing that has nothing of the grant is none (RFC 6749 section 3.3: a request may be ignored).
    pub fn of_token(
        &self,
        granted: &str,
        narrowed: Option<&str>,
        profile: &Profile,
        client: ScopeSet,
    ) -> ScopeSet {
        let held = self.held(granted, profile, client);
        let Some(narrowed) = narrowed else { return held };
        let named = |text: &str| self.those(|config| text.split(' ').any(|name| name == config.name));
        let narrowed = named(narrowed).intersection(named(granted));
        if narrowed.is_empty() { held } else { held.intersection(narrowed) }
    }

    /// What a user may be granted at all.
    pub fn grantable(&self, profile: &Profile) -> ScopeSet {
        let may = |rules: &Option<Vec<AccessRule>>| rules.as_ref().is_none_or(|r| access::names(r, profile));
        self.those(|config| may(&config.allow)).intersection(self.available)
    }

    /// What of `named` lies within `limit`, and what that includes, within it too: a broad scope that one may not have
    /// does not bring the narrower ones.
    fn within(&self, named: ScopeSet, limit: ScopeSet) -> ScopeSet {
        let named = named.intersection(limit);
        let held =
            self.declared.iter().enumerate().filter(|(index, _)| named.contains(ScopeSet::one(*index)));
        held.fold(named, |all, (_, scope)| all.union(scope.covers)).intersection(limit)
    }
}

/// `scope-token = 1*( %x21 / %x23-5B / %x5D-7E )`.
fn is_token(token: &str) -> bool {
    !token.is_empty() && token.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn scopes(policy: Option<&[String]>) -> Scopes {
        let configs: Vec<ScopeConfig> = serde_json::from_value(json!([
            {"name": "read", "default": true},
            {"name": "write", "includes": ["read"], "allow": [{"groups": ["maintainers"]}]},
            {"name": "admin", "includes": ["write"]},
        ]))
        .unwrap();
        Scopes::new(&configs, policy).unwrap()
    }

    fn profile(groups: &[&str]) -> Profile {
        Profile { groups: groups.iter().map(|g| (*g).to_owned()).collect(), ..Profile::default() }
    }

    #[test]
    fn without_scopes_there_is_one() {
        let implicit = Scopes::new(&[], None).unwrap();
        for asked in [None, Some(""), Some(" "), Some("mcp"), Some("mcp admin"), Some("offline_access")] {
            assert_eq!(
                implicit.asked(asked, implicit.of_client(None)).map(|s| implicit.text(s)).as_deref(),
                Some("mcp"),
                "{asked:?}"
            );
        }
        let many = "mcp ".repeat(500);
        for asked in ["admin", "*", "mcp \"x\"", "mcp \\", "mcp\u{0}", "mcp\tadmin", "ä", many.as_str()] {
            assert_eq!(implicit.asked(Some(asked), implicit.of_client(None)), None, "{asked:?}");
        }
    }

    #[test]
    fn a_request_is_narrowed_to_what_there_is_and_widened_by_what_that_includes() {
        let all = scopes(None);
        let asked = |text: Option<&str>| all.asked(text, all.of_client(None)).map(|set| all.text(set));
        assert_eq!(asked(None).as_deref(), Some("read"));
        assert_eq!(asked(Some("offline_access")).as_deref(), Some("read"));
        assert_eq!(asked(Some("write unknown")).as_deref(), Some("read write"));
        assert_eq!(asked(Some("admin")).as_deref(), Some("read write admin"));
        assert_eq!(asked(Some("unknown")), None);
    }

    #[test]
    fn a_policy_keeps_scopes_from_clients() {
        let policy = ["read".to_owned()];
        let read_only = scopes(Some(&policy));
        assert_eq!(read_only.supported(), ["read"]);
        assert_eq!(read_only.asked(Some("write"), read_only.of_client(None)), None);
        let held = read_only.held("read write", &profile(&["maintainers"]), read_only.of_client(None));
        assert_eq!(read_only.text(held), "read");
    }

    #[test]
    fn what_a_user_may_not_have_is_not_held_and_brings_nothing() {
        let all = scopes(None);
        let held =
            |text: &str, groups: &[&str]| all.text(all.held(text, &profile(groups), all.of_client(None)));
        assert_eq!(held("write", &["maintainers"]), "read write");
        assert_eq!(held("write", &[]), "");
        assert_eq!(held("read write", &[]), "read");
        assert_eq!(held("admin", &[]), "read admin");
        assert_eq!(held("mcp", &[]), "");
    }

    #[test]
    fn a_refresh_narrows_a_token_and_never_widens_it() {
        let all = scopes(None);
        let client = all.of_client(None);
        let of =
            |narrowed| all.text(all.of_token("read write", narrowed, &profile(&["maintainers"]), client));
        assert_eq!(of(None), "read write");
        assert_eq!(of(Some("read admin")), "read");
        assert_eq!(of(Some("admin")), "read write", "a wish that has nothing of the grant is ignored");
        assert_eq!(all.of_token("read write", Some("write"), &profile(&[]), client), ScopeSet::default());
        assert_eq!(all.narrowing("read unknown"), None);
        assert_eq!(all.narrowing(" offline_access").map(ScopeSet::is_empty), Some(true));
    }

    #[test]
    fn a_client_is_bound_to_its_scopes_on_every_use() {
        let all = scopes(None);
        let write = all.of_client(Some(&["write".to_owned()]));
        let asked = |text: Option<&str>| all.asked(text, write).map(|set| all.text(set));
        assert_eq!(asked(None).as_deref(), Some("write"), "it may have none of the defaults");
        assert_eq!(asked(Some("read")), None);
        assert_eq!(asked(Some("admin write")).as_deref(), Some("write"));
        let maintainer = profile(&["maintainers"]);
        assert_eq!(all.text(all.held("read write admin", &maintainer, write)), "write");
        assert_eq!(all.text(all.of_token("read write", Some("read"), &maintainer, write)), "");
        assert_eq!(all.of_client(Some(&["unknown".to_owned()])), ScopeSet::default());
        let read_only = scopes(Some(&["read".to_owned()]));
        assert!(read_only.of_client(Some(&["write".to_owned()])).is_empty(), "the policy's bound holds, too");
    }

    #[test]
    fn names_are_tokens_once_and_known() {
        let new = |value| Scopes::new(&serde_json::from_value::<Vec<ScopeConfig>>(value).unwrap(), None);
        for wrong in [
            json!([{"name": "a b"}]),
            json!([{"name": ""}]),
            json!([{"name": "offline_access"}]),
            json!([{"name": "a"}, {"name": "a"}]),
            json!([{"name": "a", "includes": ["b"]}]),
        ] {
            assert!(new(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
