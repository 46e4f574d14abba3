//! Every condition type and every reason, in one place. They are part of the API: users and tools match on them.

use std::fmt;

macro_rules! texts {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident => $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// As it stands in a condition.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

/// The same with what each says, which is its documentation, and what to do about it.
macro_rules! reasons {
    ($(#[$meta:meta])* $name:ident {
        $(#[doc = $doc:literal] $variant:ident => $text:literal, $remedy:literal;)+
    }) => {
        texts! { $(#[$meta])* $name { $(#[doc = $doc] $variant => $text,)+ } }

        impl $name {
            /// Of which condition it is, and after a colon what it means.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $doc,)+ }
            }

            /// What to do.
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$variant => $remedy,)+ }
            }
        }
    };
}

texts! {
    /// The type of a condition.
    ConditionType {
        /// The spec is valid and nothing of it conflicts with another server.
        Accepted => "Accepted",
        /// Every object that the spec names exists and holds the key that is named.
        ResolvedRefs => "ResolvedRefs",
        /// The pods run the configuration of this generation.
        Programmed => "Programmed",
        /// At least one pod serves some accepted configuration.
        Available => "Available",
        /// All of the others, at this generation.
        Ready => "Ready",
        /// The user must act before anything moves on.
        Stalled => "Stalled",
        /// What the server stores is out of reach of other tenants.
        TenantIsolated => "TenantIsolated",
        /// An OAuthClientPolicy applies to this server (GEP-713).
        PolicyAffected => "gatehouse.dev/OAuthClientPolicyAffected",
    }
}

reasons! {
    /// The reason of a condition.
    Reason {
        /// `Accepted=True`: the spec is valid, and nothing of it conflicts with another object.
        Accepted => "Accepted", "Nothing.";
        /// `Accepted=False`: a field has a value that cannot work, or the object cannot be read.
        Invalid => "Invalid", "Correct the field that the message names.";
        /// `Accepted=False`: another server had this issuer first.
        IssuerConflict => "IssuerConflict", "Give this server a `url` or `issuer` of its own, or delete the other one.";
        /// `Accepted=False`: another namespace had this host first.
        HostConflict => "HostConflict", "Use one host a server; or `hosts.shared` of the operator, knowing what it means.";
        /// `Accepted=False`: the operator's configuration does not allow this host to this namespace.
        HostNotAllowed => "HostNotAllowed", "Use a host that the message names, or have `hosts.allow` extended.";
        /// `Accepted=False`: the operator's configuration does not allow this way to sign in, or this issuer.
        IdentityNotAllowed => "IdentityNotAllowed", "Use another provider, or have `identity` of the operator extended.";
        /// `Accepted=False`: the operator's configuration does not allow what this field asks for.
        NotAllowed => "NotAllowed", "Remove it, or have the setting changed that the message names.";
        /// `Accepted=False`: the provider is not asked for a scope without which `access` could never match.
        ScopeMissing => "ScopeMissing", "Add the scope that the message names to `identity`.";
        /// `Accepted=False`: a policy is required and none applies.
        NoPolicy => "NoPolicy", "Make an OAuthClientPolicy that targets this server.";
        /// `Accepted=False`: a policy that is for this server, or may be, cannot be read.
        PolicyUnreadable => "PolicyUnreadable", "Correct that policy, or delete it.";
        /// `Accepted=False`: an object of the name of a child exists and is not this server's.
        Conflict => "Conflict", "Rename or delete it, or rename this server.";
        /// `ResolvedRefs=True`: every object that the spec names exists.
        Resolved => "Resolved", "Nothing.";
        /// `ResolvedRefs=False`: a Secret or ConfigMap does not exist.
        RefNotFound => "RefNotFound", "Create it; for ten minutes it is seen within 17 s, later within six minutes.";
        /// `ResolvedRefs=False`: a Secret or ConfigMap lacks the key that is named.
        KeyNotFound => "KeyNotFound", "Add the key, or name another; for ten minutes it is seen within 17 s, later within six minutes.";
        /// `ResolvedRefs=False`: a Secret or ConfigMap exists and its content cannot be used, or a file of the operator's own.
        InvalidRef => "InvalidRef", "Correct the content as the message says.";
        /// `ResolvedRefs=False`: a Service or its port does not exist.
        ServiceNotFound => "ServiceNotFound", "Create it, or name one of the ports that the message lists; it is seen at once.";
        /// `ResolvedRefs=False`: a Service leads elsewhere (`ExternalName`), or wherever somebody writes (no address and no selector).
        RefNotPermitted => "RefNotPermitted", "Give the backend a `url` instead.";
        /// `ResolvedRefs=False`: the generated keys are gone, or others are in their place; pods go on with those they have.
        KeysLost => "KeysLost", "Restore the Secret; or `kubectl annotate mcps NAME gatehouse.dev/accept-key-loss=INSTANCE`, and everybody signs in again.";
        /// `ResolvedRefs=False`: the keys Secret is not this server's, or cannot be read.
        KeysInvalid => "KeysInvalid", "Restore it, or delete or annotate it as the message says.";
        /// `Programmed=True`: all pods run this configuration; of a policy, all targets run with it.
        Programmed => "Programmed", "Nothing.";
        /// `Programmed=False`: pods are being replaced; of a policy, those of its targets.
        Progressing => "Progressing", "Wait.";
        /// `Programmed=False`: the roll-out does not get on.
        RolloutFailed => "RolloutFailed", "Look at the pods; the message says what the Deployment says.";
        /// `Programmed=False`: a roll-out that the operator itself causes waits for its turn, or for whoever runs the operator when it failed on three servers that are not all of one tenant.
        RolloutQueued => "RolloutQueued", "Wait, or raise `rollouts.maxConcurrent`; where it failed, correct the operator's image or defaults.";
        /// `Programmed=False`: the API server refused an object, or a pass did not get to its end.
        ApplyFailed => "ApplyFailed", "Look at what refused it: quota, admission, rights of the operator.";
        /// `Programmed=False`: Redis is away, or refused what the operator needs of it.
        RedisUnavailable => "RedisUnavailable", "Mend Redis, or the rights of the operator's user there.";
        /// `Programmed=False`: not looked at because `Accepted` or `ResolvedRefs` is not True; what ran runs on.
        Blocked => "Blocked", "Mend that one.";
        /// `Available=True`: a pod serves some accepted configuration.
        Available => "Available", "Nothing.";
        /// `Available=False`: no pod is ready.
        NoReadyPods => "NoReadyPods", "Look at the pods and their log.";
        /// `Available=True`, `Ready=True`: `replicas` is 0, as was asked for.
        Parked => "Parked", "Nothing, or raise `gateway.replicas`.";
        /// `Ready=True`: users can sign in; the message has what is worth a note.
        Ready => "Ready", "Nothing.";
        /// `Unknown`, of any condition: not looked at yet.
        Pending => "Pending", "Wait; if it stays, see whether the operator runs and watches this namespace.";
        /// `Stalled=False`: nothing waits for you.
        Reconciling => "Reconciling", "Nothing.";
        /// `TenantIsolated=True`: a Redis user of its own reaches this server's keys alone.
        OwnRedisUser => "OwnRedisUser", "Nothing.";
        /// `TenantIsolated=False`: Redis lets in whoever has no password.
        OpenRedis => "OpenRedis", "Give Redis's user `default` a password, or turn it off.";
        /// `TenantIsolated=Unknown`: the operator may not look whom Redis lets in without a password.
        DefaultUserUnseen => "DefaultUserUnseen", "Grant `+acl|getuser` to the operator's user.";
        /// `TenantIsolated=False`: all servers share one Redis user (`redis.users: Shared`).
        SharedRedisUser => "SharedRedisUser", "Use `Managed` or `Provided` where tenants do not trust each other.";
        /// `TenantIsolated=Unknown`: the Redis user is provided, and its rights are not looked at.
        ProvidedRedisUser => "ProvidedRedisUser", "See to its rights yourself.";
        /// `OAuthClientPolicyAffected=True`: the policy that the message names applies.
        PolicyApplied => "PolicyApplied", "Nothing.";
        /// `OAuthClientPolicyAffected=False`: no policy targets this server; the operator's default applies.
        DefaultPolicy => "DefaultPolicy", "Nothing, or make an OAuthClientPolicy.";
        /// `OAuthClientPolicyAffected=True`: the operator's ceilings lowered something of the policy.
        Capped => "Capped", "Ask for less, or have `policy.ceilings` raised.";
        /// `Accepted=False` of a policy: an older policy of the same level has this target.
        Conflicted => "Conflicted", "Delete one of the two, or let it target more specifically.";
        /// `Programmed=False` of a policy: a more specific policy has this target.
        Overridden => "Overridden", "Nothing, if that is meant.";
        /// `Accepted=False` of a policy: no target exists in this namespace.
        TargetNotFound => "TargetNotFound", "Correct `targetRefs`, or make the server.";
        /// `Programmed=False` of a policy: some targets run with it.
        PartiallyProgrammed => "PartiallyProgrammed", "See what keeps the servers that the message names.";
    }
}

/// One thing that is wrong with a server or policy: the same words in its conditions, its events, and the terminal
/// of `gatehouse dev` and `gatehouse render`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The condition that it makes false.
    pub condition: ConditionType,
    /// The reason.
    pub reason: Reason,
    /// The path of the field, for example `spec.identity.oauth2.scopes`.
    pub field: String,
    /// What was found, what is allowed, and what to do.
    pub message: String,
}

impl Problem {
    /// A problem that makes `Accepted` false.
    pub fn accepted(reason: Reason, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { condition: ConditionType::Accepted, reason, field: field.into(), message: message.into() }
    }

    /// A problem that makes `ResolvedRefs` false.
    pub fn refs(reason: Reason, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { condition: ConditionType::ResolvedRefs, reason, field: field.into(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Users and tools match on them: one that is renamed or taken away breaks theirs.
    #[test]
    fn reasons_are_frozen() {
        let all: Vec<&str> = Reason::ALL.iter().map(|r| r.as_str()).collect();
        let frozen = [
            "Accepted",
            "Invalid",
            "IssuerConflict",
            "HostConflict",
            "HostNotAllowed",
            "IdentityNotAllowed",
            "NotAllowed",
            "ScopeMissing",
            "NoPolicy",
            "PolicyUnreadable",
            "Conflict",
            "Resolved",
            "RefNotFound",
            "KeyNotFound",
            "InvalidRef",
            "ServiceNotFound",
            "RefNotPermitted",
            "KeysLost",
            "KeysInvalid",
            "Programmed",
            "Progressing",
            "RolloutFailed",
            "RolloutQueued",
            "ApplyFailed",
            "RedisUnavailable",
            "Blocked",
            "Available",
            "NoReadyPods",
            "Parked",
            "Ready",
            "Pending",
            "Reconciling",
            "OwnRedisUser",
            "OpenRedis",
            "DefaultUserUnseen",
            "SharedRedisUser",
            "ProvidedRedisUser",
            "PolicyApplied",
            "DefaultPolicy",
            "Capped",
            "Conflicted",
            "Overridden",
            "TargetNotFound",
            "PartiallyProgrammed",
        ];
        assert_eq!(all, frozen);
    }

    #[test]
    fn every_reason_says_of_which_condition_it_is_what_it_means_and_what_to_do() {
        for reason in Reason::ALL {
            let (condition, meaning) = reason.meaning().trim().split_once(": ").unwrap();
            let of = ConditionType::ALL.iter().any(|type_| {
                let short = type_.as_str().trim_start_matches("gatehouse.dev/");
                condition.starts_with(&format!("`{short}="))
            });
            assert!(of || *reason == Reason::Pending, "{reason}: {condition}");
            assert!(meaning.ends_with('.') && reason.remedy().ends_with('.'), "{reason}");
        }
    }

    #[test]
    fn reasons_are_camel_case_and_each_stands_once() {
        let texts: BTreeSet<&str> = Reason::ALL.iter().map(|r| r.as_str()).collect();
        assert_eq!(texts.len(), Reason::ALL.len());
        for text in texts {
            assert!(text.starts_with(|c: char| c.is_ascii_uppercase()), "{text}");
            assert!(text.chars().all(|c| c.is_ascii_alphanumeric()), "{text}");
        }
    }
}
