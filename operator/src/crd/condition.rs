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

texts! {
    /// The reason of a condition.
    Reason {
        /// `Accepted=True`: the spec is valid.
        Accepted => "Accepted",
        /// `Accepted=False`: a field has a value that cannot work; the message names it.
        Invalid => "Invalid",
        /// `Accepted=False`: another server had this issuer first.
        IssuerConflict => "IssuerConflict",
        /// `Accepted=False`: another namespace had this host first.
        HostConflict => "HostConflict",
        /// `Accepted=False`: the operator's configuration does not allow this host to this namespace.
        HostNotAllowed => "HostNotAllowed",
        /// `Accepted=False`: the operator's configuration does not allow this way to sign in, or this issuer.
        IdentityNotAllowed => "IdentityNotAllowed",
        /// `Accepted=False`: the operator's configuration does not allow this field to tenants.
        NotAllowed => "NotAllowed",
        /// `Accepted=False`: the provider is not asked for a scope without which `access` could never match.
        ScopeMissing => "ScopeMissing",
        /// `Accepted=False`: a policy is required and none applies.
        NoPolicy => "NoPolicy",
        /// `Accepted=False`: a policy that is for this server, or may be, cannot be read.
        PolicyUnreadable => "PolicyUnreadable",
        /// `Accepted=False`: a child of this name exists and is not ours.
        Conflict => "Conflict",
        /// `ResolvedRefs=True`.
        Resolved => "Resolved",
        /// `ResolvedRefs=False`: a Secret or ConfigMap does not exist.
        RefNotFound => "RefNotFound",
        /// `ResolvedRefs=False`: a Secret or ConfigMap lacks the key.
        KeyNotFound => "KeyNotFound",
        /// `ResolvedRefs=False`: a Secret or ConfigMap exists and its content cannot be used.
        InvalidRef => "InvalidRef",
        /// `ResolvedRefs=False`: a Service or its port does not exist.
        ServiceNotFound => "ServiceNotFound",
        /// `ResolvedRefs=False`: a Service that leads elsewhere.
        RefNotPermitted => "RefNotPermitted",
        /// `ResolvedRefs=False`: the generated keys are gone, or others are in their place.
        KeysLost => "KeysLost",
        /// `ResolvedRefs=False`: the keys Secret is not ours or not readable.
        KeysInvalid => "KeysInvalid",
        /// `Programmed=True`.
        Programmed => "Programmed",
        /// `Programmed=False`: pods are being replaced.
        Progressing => "Progressing",
        /// `Programmed=False`: the roll-out does not get on; the message says what the Deployment says.
        RolloutFailed => "RolloutFailed",
        /// `Programmed=False`: a roll-out that the operator itself causes waits for its turn.
        RolloutQueued => "RolloutQueued",
        /// `Programmed=False`: the API server refused an object, or a pass did not get to its end.
        ApplyFailed => "ApplyFailed",
        /// `Programmed=False`: Redis refused what the operator needs of it.
        RedisUnavailable => "RedisUnavailable",
        /// A condition that is not looked at because an earlier one failed.
        Blocked => "Blocked",
        /// `Available=True`.
        Available => "Available",
        /// `Available=False`: no pod is ready.
        NoReadyPods => "NoReadyPods",
        /// `Available=True`: `replicas: 0`, which is what was asked for.
        Parked => "Parked",
        /// `Ready=True`.
        Ready => "Ready",
        /// `Unknown`: not looked at yet.
        Pending => "Pending",
        /// `Stalled=False`: nothing waits for the user.
        Reconciling => "Reconciling",
        /// `TenantIsolated=True`: a Redis user of its own.
        OwnRedisUser => "OwnRedisUser",
        /// `TenantIsolated=False`: Redis lets in whoever has no password.
        OpenRedis => "OpenRedis",
        /// `TenantIsolated=Unknown`: the operator may not look whom Redis lets in without a password.
        DefaultUserUnseen => "DefaultUserUnseen",
        /// `TenantIsolated=False`: all servers share one Redis user.
        SharedRedisUser => "SharedRedisUser",
        /// `TenantIsolated=Unknown`: the tenant provides the Redis user.
        ProvidedRedisUser => "ProvidedRedisUser",
        /// `OAuthClientPolicyAffected=True`.
        PolicyApplied => "PolicyApplied",
        /// `OAuthClientPolicyAffected=False`: the operator's default policy applies.
        DefaultPolicy => "DefaultPolicy",
        /// `OAuthClientPolicyAffected=True`: the operator's ceilings lowered something of the policy.
        Capped => "Capped",
        /// Policy `Accepted=False`: an older policy of the same level has this target.
        Conflicted => "Conflicted",
        /// Policy `Programmed=False`: a more specific policy has this target.
        Overridden => "Overridden",
        /// Policy `Accepted=False`: no target exists.
        TargetNotFound => "TargetNotFound",
        /// Policy `Programmed=False`: some targets run with it.
        PartiallyProgrammed => "PartiallyProgrammed",
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
    fn reasons_are_camel_case_and_each_stands_once() {
        let texts: BTreeSet<&str> = Reason::ALL.iter().map(|r| r.as_str()).collect();
        assert_eq!(texts.len(), Reason::ALL.len());
        for text in texts {
            assert!(text.starts_with(|c: char| c.is_ascii_uppercase()), "{text}");
            assert!(text.chars().all(|c| c.is_ascii_alphanumeric()), "{text}");
        }
    }
}
