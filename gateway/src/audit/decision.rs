//! Every decision that leaves a trace. A new one is one line here; the README's table follows from it.

macro_rules! decisions {
    ($($name:ident $event:literal $outcome:literal $when:literal;)*) => {
        /// What was decided.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Decision {
            $(#[doc = $when] $name,)*
        }

        impl Decision {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// What it is about.
            pub fn event(self) -> &'static str {
                match self { $(Self::$name => $event,)* }
            }

            /// How it ended.
            pub fn outcome(self) -> &'static str {
                match self { $(Self::$name => $outcome,)* }
            }

            /// When it is written.
            pub fn when(self) -> &'static str {
                match self { $(Self::$name => $when,)* }
            }
        }
    };
}

decisions! {
    ClientRegistered "registration" "registered" "A client registered itself.";
    RegistrationRefused "registration" "refused" "A registration was refused.";
    AuthorizeRefused "authorization" "refused" "An authorization request was refused, on a page or by a redirect.";
    SignedIn "sign_in" "signed_in" "A user proved who they are and may use the server.";
    SignInFailed "sign_in" "failed" "A sign-in did not succeed, here or at the identity provider.";
    SignInThrottled "sign_in" "throttled" "A sign-in was not looked at: too many attempts.";
    AccessDenied "access" "denied" "A user proved who they are and may not use the server.";
    ConsentApproved "consent" "approved" "The user approved a client.";
    ConsentDenied "consent" "denied" "The user declined a client; the reason says what that took back: an approval (`after_approval`), or a code that no client had redeemed (`code_withdrawn`).";
    ConsentRefused "consent" "refused" "An answer to the consent page was refused: not this browser's, or not by its user.";
    CodeIssued "code" "issued" "A client got an authorization code.";
    CodeRedeemed "code" "redeemed" "A code was redeemed for tokens.";
    CodeRefused "code" "refused" "A code was refused, or could not be issued.";
    CodeReplayed "code" "replayed" "A code was presented again after it was redeemed; the reason says whether its grant was revoked, had ended before, or stays (`parallel`).";
    RefreshRotated "refresh" "rotated" "A refresh token was replaced.";
    RefreshSuccessor "refresh" "successor" "A token replaced a moment ago got the same successor again.";
    RefreshReused "refresh" "reused" "A refresh token was used after its grace: its grant was revoked.";
    RefreshRefused "refresh" "refused" "A refresh was refused.";
    RefreshDead "refresh" "dead" "A refresh was refused because the user must sign in again.";
    RobotTokenIssued "token" "issued" "A client of the policy got an access token for itself (`client_credentials`).";
    TokenRefused "token" "refused" "A token request was refused before its grant was looked at: malformed, or its client not proven.";
    BearerRefused "bearer" "refused" "A call carried an access token that is not good here, or that could not be checked (`store`); of one source at most 3,000 a minute of each are written.";
    RevocationRefused "revocation" "refused" "A request to revoke a token was refused: its client was not proven, the token is another's, or there were too many.";
    AccountRefused "account" "refused" "A form of the account page was refused: not by its user, or malformed.";
    SignedOut "session" "ended" "Browser sessions ended: by their user on the account page, or by a new password (`password_changed`).";
    GrantRevoked "grant" "revoked" "A grant and its tokens were ended: on request, by a new password (`password_changed`), because its user has newer ones (`too_many`), or because a record of it is not ours (`forged`).";
    IdentityDead "identity" "dead" "A user's identity died, and calls and refreshes are refused until they sign in again; the reason says why.";
    IdentityLive "identity" "live" "A user who was gone from the file of users is there again.";
    UserPurged "user" "purged" "A user who had been gone from the file of users for a day was deleted, with grants and credentials.";
    Call "call" "how the call ended" "A call on the MCP path ended.";
}
