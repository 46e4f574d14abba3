//! Manifests of the suites. `{issuer}`, `{backend}`, `{provider}` and `{lifetimes}` are filled in by [`crate::dev::Setup`].

/// Local users alice and bob with tokens of their own.
pub const LOCAL: &str = r#"
apiVersion: gatehouse.dev/v1alpha1
kind: McpServer
metadata: { name: tools, namespace: team-a }
spec:
  url: {issuer}/mcp
  identity: { local: { usersSecretRef: { name: users, key: users.yaml } } }
  access: { everyone: {} }
  credentials: [{ name: me, fromIdentity: {} }]
  backends: [{ name: tools, url: "{backend}", inject: [{ credential: me }] }]
---
apiVersion: v1
kind: Secret
metadata: { name: users, namespace: team-a }
stringData:
  users.yaml: |
    - name: alice
      uid: 5d0cf1c4b7d84a0e9c1f
      passwordHash: $argon2id$v=19$m=19456,t=2,p=1$mFHYlGtXagusfD3r4lRY6A$SglUPcYqNsymz6bTWMuX19dHnAF+EHAEpkqtva7g8aA
      email: alice@example.com
      token: token-of-alice
    - name: bob
      uid: 91e6a2f7c35b4d1890aa
      passwordHash: $argon2id$v=19$m=19456,t=2,p=1$Z4DJrxhdy/O/twB9XmQpEg$V/Z2OE9RNOfGK8kM68ID6TSX0HLNu2rjyvBcbodVZrY
      email: bob@example.com
      token: token-of-bob
---
apiVersion: gatehouse.dev/v1alpha1
kind: OAuthClientPolicy
metadata: { name: default, namespace: team-a }
spec:
  targetRefs: [{ selector: {} }]
  lifetimes: { {lifetimes} }
"#;

/// [`LOCAL`], where everybody begins with `read` and writing to a project takes two scopes more.
pub fn with_scopes() -> String {
    let scopes = "scopes: [{ name: read, default: true }, { name: write }, { name: publish }]";
    let tools = "tools: { scopes: [{ tools: [write], scopes: [write, publish] }] }";
    LOCAL
        .replace("access: { everyone: {} }", &format!("access: {{ everyone: {{}} }}\n  {scopes}"))
        .replace("inject: [{ credential: me }] }]", &format!("inject: [{{ credential: me }}], {tools} }}]"))
}

/// [`LOCAL`], which takes documents of these hosts.
pub fn with_documents<'a>(hosts: impl Iterator<Item = &'a str>) -> String {
    let hosts = hosts.collect::<Vec<_>>().join(", ");
    let registration = format!("registration: {{ metadataDocuments: {{ allowedHosts: [{hosts}] }} }}");
    LOCAL.replace("lifetimes:", &format!("{registration}\n  lifetimes:"))
}

/// The lifetimes that hold without a policy.
pub const DEFAULT_LIFETIMES: &str = "accessToken: 1h";

/// Users of a GitHub Enterprise Server at `{provider}`.
pub const GITHUB: &str = r#"
apiVersion: gatehouse.dev/v1alpha1
kind: McpServer
metadata: { name: github, namespace: team-a }
spec:
  url: {issuer}/mcp
  identity:
    oauth2:
      provider: GitHub
      baseUrl: {provider}
      clientId: Ov23liTestClient
      clientSecretRef: { name: github-oauth, key: clientSecret }
      scopes: [repo, "read:user", "user:email", "read:org"]
  access: { allow: [{ groups: [acme/platform] }, { emailDomains: [example.com] }] }
  credentials: [{ name: me, fromIdentity: {} }]
  backends: [{ name: tools, url: "{backend}", inject: [{ credential: me }] }]
---
apiVersion: v1
kind: Secret
metadata: { name: github-oauth, namespace: team-a }
stringData: { clientSecret: test-client-secret }
"#;

/// Users of an OpenID Connect provider at `{provider}`.
pub const OIDC: &str = r#"
apiVersion: gatehouse.dev/v1alpha1
kind: McpServer
metadata: { name: sso, namespace: team-a }
spec:
  url: {issuer}/mcp
  identity:
    oidc:
      issuer: {provider}
      clientId: gatehouse
      clientSecretRef: { name: sso-client, key: clientSecret }
      scopes: [profile, email, groups]
  access: { allow: [{ groups: [platform] }, { emails: [bob@example.com] }] }
  credentials: [{ name: me, fromIdentity: {} }]
  backends: [{ name: tools, url: "{backend}", inject: [{ credential: me }] }]
---
apiVersion: v1
kind: Secret
metadata: { name: sso-client, namespace: team-a }
stringData: { clientSecret: test-client-secret }
"#;

/// Users of an OAuth 2.0 server at `{provider}` that is named by its endpoints, and a key that all calls carry beside
/// their user's own token.
pub const EXPLICIT: &str = r#"
apiVersion: gatehouse.dev/v1alpha1
kind: McpServer
metadata: { name: forge, namespace: team-a }
spec:
  url: {issuer}/mcp
  identity:
    oauth2:
      authorizationUrl: {provider}/authorize
      tokenUrl: {provider}/token
      userInfo:
        url: {provider}/userinfo
        subject: /sub
        name: /name
        email: /email
        emailVerified: /email_verified
        groups: /groups
      clientId: gatehouse
      clientSecretRef: { name: forge-oauth, key: clientSecret }
      scopes: [openid, profile, email, groups]
      extraParameters: [{ name: prompt, value: login }]
  access: { allow: [{ groups: [platform] }, { emails: [bob@example.com] }] }
  credentials:
    - { name: me, fromIdentity: {} }
    - { name: shared, static: { secretRef: { name: forge-oauth, key: apiKey } } }
  backends:
    - name: tools
      url: "{backend}"
      inject: [{ credential: me }, { credential: shared, header: X-Api-Key, format: "{token}" }]
---
apiVersion: v1
kind: Secret
metadata: { name: forge-oauth, namespace: team-a }
stringData: { clientSecret: test-client-secret, apiKey: key-of-all }
"#;
