//! One test for each reason of a problem, by breaking a good server.

use gatehouse_gateway_config::{IdentityConfig, OAuth2Config};
use gatehouse_operator::{
    config::{OperatorConfig, RedisUsers},
    crd::{
        McpServer, OAuthClientPolicy,
        condition::{ConditionType, Problem, Reason},
        primitive::Mode,
    },
    server::{
        fetch::{Fetched, Keys, Policies, ServerName},
        validate::{ValidatedServer, validate},
    },
};
use serde_json::{Value, json};

/// A good server, as JSON, to be broken.
fn good() -> Value {
    json!({
        "apiVersion": "gatehouse.dev/v1alpha1",
        "kind": "McpServer",
        "metadata": { "name": "github", "namespace": "team-a", "labels": { "tier": "gold" } },
        "spec": {
            "url": "https://github.mcp.example.com/mcp",
            "identity": { "oauth2": {
                "provider": "GitHub",
                "clientId": "Ov23liExample",
                "clientSecretRef": { "name": "github-oauth", "key": "clientSecret" },
                "scopes": ["repo", "user:email", "read:org"],
            } },
            "access": { "allow": [{ "groups": ["acme/platform"] }, { "emailDomains": ["example.com"] }] },
            "credentials": [
                { "name": "me", "fromIdentity": {} },
                { "name": "api", "static": { "secretRef": { "name": "api", "key": "key" } } },
            ],
            "backends": [{
                "name": "tools",
                "service": { "name": "github-tools", "port": 8080 },
                "inject": [{ "credential": "me" }, { "credential": "api", "header": "X-Api-Key", "format": "{token}" }],
            }],
        },
    })
}

/// A world in which it is good.
fn world() -> Fetched {
    let service = json!({ "metadata": { "name": "github-tools" }, "spec": {
        "selector": { "app": "tools" }, "ports": [{ "name": "http", "port": 8080, "targetPort": 3000 }] } });
    Fetched {
        secrets: [
            ("github-oauth".to_owned(), ["clientSecret".to_owned()].into()),
            ("api".to_owned(), ["key".to_owned()].into()),
        ]
        .into(),
        services: [("github-tools".to_owned(), serde_json::from_value(service).unwrap())].into(),
        keys: Keys::Present { instance: "k3v9x2".to_owned() },
        ..Fetched::default()
    }
}

fn server(value: Value) -> McpServer {
    serde_json::from_value(value).unwrap()
}

fn check(value: Value, fetched: &Fetched, config: &OperatorConfig) -> Result<ValidatedServer, Vec<Problem>> {
    validate(&server(value), fetched, config)
}

/// The good server with one value changed.
fn with(pointer: &str, value: Value) -> Value {
    let mut server = good();
    match pointer.rsplit_once('/') {
        Some((parent, field)) => server.pointer_mut(parent).unwrap()[field] = value,
        None => panic!("{pointer}"),
    }
    server
}

/// The one problem of a server.
fn problem(value: Value, fetched: &Fetched, config: &OperatorConfig) -> Problem {
    let problems = check(value, fetched, config).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems.into_iter().next().unwrap()
}

/// What one changed value makes wrong.
fn broken(pointer: &str, value: Value) -> Problem {
    problem(with(pointer, value), &world(), &OperatorConfig::offline())
}

fn says(problem: &Problem, reason: Reason, field: &str, words: &[&str]) {
    assert_eq!((problem.reason, problem.field.as_str()), (reason, field), "{problem}");
    for word in words {
        assert!(problem.message.contains(word), "{word:?} in {problem}");
    }
}

#[test]
fn the_good_server_is_good() {
    let valid = check(good(), &world(), &OperatorConfig::offline()).unwrap();
    assert_eq!(valid.server().issuer, "https://github.mcp.example.com");
    assert_eq!(valid.callback_url().unwrap(), "https://github.mcp.example.com/oauth/callback");
    assert_eq!(valid.twin.unwrap().name, "github-gateway-tools");
    assert_eq!(valid.warnings, []);
}

#[test]
fn scopes_name_each_other_and_tools_name_them() {
    let scopes = |write: Value| json!([{ "name": "read", "default": true }, write]);
    let unknown = broken("/spec/scopes", scopes(json!({ "name": "write", "includes": ["reed"] })));
    says(&unknown, Reason::Invalid, "spec.scopes[1].includes", &["\"reed\"", "read, write"]);
    let circle = broken("/spec/scopes", scopes(json!({ "name": "write", "includes": ["write"] })));
    says(&circle, Reason::Invalid, "spec.scopes[1].includes", &["includes itself"]);
    let twice = broken("/spec/scopes", scopes(json!({ "name": "read" })));
    says(&twice, Reason::Invalid, "spec.scopes[1].name", &["twice"]);
    let tools =
        broken("/spec/backends/0/tools", json!({ "scopes": [{ "tools": ["*"], "scopes": ["write"] }] }));
    says(&tools, Reason::Invalid, "spec.backends[0].tools.scopes[0].scopes", &["\"write\"", "none"]);
}

#[test]
fn who_may_be_granted_a_scope_must_be_answerable() {
    let mut server =
        with("/spec/scopes", json!([{ "name": "a", "default": true, "allow": [{ "groups": ["x"] }] }]));
    server["spec"]["access"] = json!({ "allow": [{ "subjects": ["1"] }] });
    server["spec"]["identity"]["oauth2"]["scopes"] = json!(["repo"]);
    let problem = problem(server, &world(), &OperatorConfig::offline());
    says(&problem, Reason::ScopeMissing, "spec.identity.oauth2.scopes", &["spec.scopes[0].allow[0].groups"]);
}

#[test]
fn a_url_that_is_not_canonical_is_invalid() {
    let cases = [
        ("http://github.mcp.example.com/mcp", "must be https"),
        ("https://GitHub.mcp.example.com/mcp", "write \"https://github.mcp.example.com/mcp\""),
        ("https://github.mcp.example.com:443/mcp", "is not canonical"),
        ("https://github.mcp.example.com/a/../mcp", "is not canonical"),
        ("https://github.mcp.example.com/mcp?x=1", "query"),
        ("https://github.mcp.example.com/mcp#x", "fragment"),
        ("https://user@github.mcp.example.com/mcp", "user name"),
        ("https://github.mcp.example.com/mcp/", "slash at its end"),
        ("https://github.mcp.example.com/m%63p", "encoded"),
        ("https://github.mcp.example.com/oauth/mcp", "\"oauth\""),
        ("https://github.mcp.example.com/account", "\"account\""),
        ("https://github.mcp.example.com/.well-known/x", "\".well-known\""),
        ("https://github.mcp.example.com", "must have a path"),
        ("github", "is not a URL"),
    ];
    for (url, words) in cases {
        says(&broken("/spec/url", json!(url)), Reason::Invalid, "spec.url", &[words]);
    }
}

#[test]
fn an_issuer_is_a_prefix_of_the_url() {
    for issuer in
        ["https://other.example.com", "https://github.mcp.example.com/m", "https://github.mcp.example.com/"]
    {
        let problem = broken("/spec/issuer", json!(issuer));
        says(&problem, Reason::Invalid, "spec.issuer", &[issuer, "https://github.mcp.example.com"]);
    }
    let mut deep = with("/spec/url", json!("https://h.example.com/t/github/mcp"));
    deep["spec"]["issuer"] = json!("https://h.example.com/t/github");
    let valid = check(deep, &world(), &OperatorConfig::offline()).unwrap();
    assert_eq!(valid.callback_url().unwrap(), "https://h.example.com/t/github/oauth/callback");
}

#[test]
fn loopback_may_be_http_and_needs_no_permission() {
    let mut config = OperatorConfig::offline();
    config.hosts.allow = vec!["*.example.com".to_owned()];
    for url in ["http://localhost:8080/mcp", "http://127.0.0.1:8080/mcp", "http://[::1]:8080/mcp"] {
        let mut fetched = world();
        fetched.host_holder = Some(ServerName { namespace: "team-b".to_owned(), name: "x".to_owned() });
        assert!(check(with("/spec/url", json!(url)), &fetched, &config).is_ok(), "{url}");
    }
}

#[test]
fn host_not_allowed() {
    let mut config = OperatorConfig::offline();
    config.hosts.allow = vec!["*.{namespace}.mcp.example.com".to_owned()];
    let problem = problem(good(), &world(), &config);
    says(
        &problem,
        Reason::HostNotAllowed,
        "spec.url",
        &["github.mcp.example.com", "*.team-a.mcp.example.com", "hosts.allow"],
    );
    let good = with("/spec/url", json!("https://github.team-a.mcp.example.com/mcp"));
    assert!(check(good, &world(), &config).is_ok());
}

#[test]
fn issuer_conflict() {
    let mut fetched = world();
    fetched.issuer_holder = Some(ServerName { namespace: "team-a".to_owned(), name: "older".to_owned() });
    let problem = problem(good(), &fetched, &OperatorConfig::offline());
    says(
        &problem,
        Reason::IssuerConflict,
        "spec.issuer",
        &["team-a/older", "https://github.mcp.example.com"],
    );
}

#[test]
fn host_conflict_unless_the_host_is_shared() {
    let mut fetched = world();
    fetched.host_holder = Some(ServerName { namespace: "team-b".to_owned(), name: "older".to_owned() });
    let mut config = OperatorConfig::offline();
    let problem = problem(good(), &fetched, &config);
    says(&problem, Reason::HostConflict, "spec.url", &["team-b/older", "hosts.shared"]);
    config.hosts.shared = vec!["github.mcp.example.com".to_owned()];
    assert!(check(good(), &fetched, &config).is_ok());
}

#[test]
fn identity_not_allowed() {
    let mut config = OperatorConfig::offline();
    config.identity.local = Mode::Refused;
    let local =
        with("/spec/identity", json!({ "local": { "usersSecretRef": { "name": "api", "key": "key" } } }));
    assert!(check(local.clone(), &world(), &OperatorConfig::offline()).is_ok());
    let found = problem(local, &world(), &config);
    says(&found, Reason::IdentityNotAllowed, "spec.identity.local", &["identity.local"]);

    config.identity.allowed_issuers = vec!["https://sso.example.com/*".to_owned()];
    let found = problem(good(), &world(), &config);
    says(
        &found,
        Reason::IdentityNotAllowed,
        "spec.identity.oauth2",
        &["https://github.com", "https://sso.example.com/*"],
    );
    config.identity.allowed_issuers.push("https://github.com".to_owned());
    assert!(check(good(), &world(), &config).is_ok());
}

/// Whoever answers at one of these says who the user is.
#[test]
fn every_endpoint_of_a_provider_is_on_an_allowed_origin() {
    let mut config = OperatorConfig::offline();
    config.identity.allowed_issuers = vec!["https://*.sso.example.com/*".to_owned()];
    let oauth2 = |field: &str| {
        let mut identity = json!({
            "authorizationUrl": "https://a.sso.example.com/authorize", "tokenUrl": "https://b.sso.example.com/token",
            "userInfo": { "url": "https://a.sso.example.com/me", "subject": "/id" },
            "clientId": "x", "clientSecretRef": { "name": "api", "key": "key" },
        });
        if let Some(endpoint) = identity.pointer_mut(field) {
            *endpoint = json!("https://evil.example.com/x");
        }
        let mut server = with("/spec/identity", json!({ "oauth2": identity }));
        server["spec"]["access"] = json!({ "everyone": {} });
        server["spec"]["credentials"].as_array_mut().unwrap().remove(1);
        server["spec"]["backends"][0]["inject"].as_array_mut().unwrap().remove(1);
        server
    };
    assert!(check(oauth2("/none"), &world(), &config).is_ok());
    for (pointer, field) in [
        ("/authorizationUrl", "authorizationUrl"),
        ("/tokenUrl", "tokenUrl"),
        ("/userInfo/url", "userInfo.url"),
    ] {
        let found = problem(oauth2(pointer), &world(), &config);
        let field = format!("spec.identity.oauth2.{field}");
        says(&found, Reason::IdentityNotAllowed, &field, &["https://evil.example.com/x"]);
    }

    let oidc = |issuer: &str, backchannel: Option<&str>| {
        let oidc = json!({ "issuer": issuer, "backchannelUrl": backchannel, "clientId": "x" });
        with("/spec/identity", json!({ "oidc": oidc }))
    };
    let issuer = "https://a.sso.example.com/realms/a";
    let field = "spec.identity.oidc.backchannelUrl";
    for evil in ["https://evil.example.com/realms/a", "https://a.sso.example.com@evil.example.com/realms/a"] {
        let problems = check(oidc(issuer, Some(evil)), &world(), &config).unwrap_err();
        assert_eq!(problems[0].field, field, "{problems:?}");
        let problems = check(oidc(evil, None), &world(), &config).unwrap_err();
        assert_eq!(problems[0].field, "spec.identity.oidc.issuer", "{problems:?}");
    }
    assert!(check(oidc(issuer, Some("https://b.sso.example.com")), &world(), &config).is_ok());
    let inside = oidc(issuer, Some("http://keycloak.sso.svc:8080/realms/a"));
    assert_eq!(check(inside.clone(), &world(), &config).unwrap_err()[0].reason, Reason::IdentityNotAllowed);
    config.egress.allow = vec!["keycloak.sso.svc".to_owned()];
    assert!(check(inside, &world(), &config).is_ok());
    // What egress lets through is no issuer by that.
    let found = problem(oidc("http://keycloak.sso.svc:8080/realms/a", None), &world(), &config);
    says(&found, Reason::IdentityNotAllowed, "spec.identity.oidc.issuer", &["is not allowed"]);
}

#[test]
fn a_scope_that_access_needs_is_missing() {
    let found = broken("/spec/identity/oauth2/scopes", json!(["repo", "user"]));
    says(
        &found,
        Reason::ScopeMissing,
        "spec.identity.oauth2.scopes",
        &["read:org", "repo, user", "spec.access.allow[0].groups"],
    );
    let found = broken("/spec/identity/oauth2/scopes", json!(["admin:org"]));
    says(
        &found,
        Reason::ScopeMissing,
        "spec.identity.oauth2.scopes",
        &["user:email", "allow[1].emailDomains"],
    );
    // A GitHub App ignores scopes: its permissions decide.
    let mut app = with("/spec/identity/oauth2/scopes", json!([]));
    app["spec"]["identity"]["oauth2"]["clientId"] = json!("Iv1.abc");
    assert_eq!(check(app.clone(), &world(), &OperatorConfig::offline()).unwrap().warnings, []);
    app["spec"]["identity"]["oauth2"]["scopes"] = json!(["repo"]);
    let valid = check(app, &world(), &OperatorConfig::offline()).unwrap();
    assert!(valid.warnings[0].message.contains("ignores scopes"), "{:?}", valid.warnings);
}

/// The good server with this preset, without a shared credential.
fn preset(provider: &str, scopes: &Value, access: Value) -> Value {
    let mut server = with(
        "/spec/identity/oauth2",
        json!({
            "provider": provider, "clientId": "x", "clientSecretRef": { "name": "api", "key": "key" }, "scopes": scopes,
        }),
    );
    server["spec"]["access"] = access;
    server["spec"]["credentials"].as_array_mut().unwrap().remove(1);
    server["spec"]["backends"][0]["inject"].as_array_mut().unwrap().remove(1);
    server
}

fn oauth2_of(valid: &ValidatedServer) -> &OAuth2Config {
    match &valid.server().identity {
        IdentityConfig::Oauth2(config) => config,
        other => panic!("{other:?}"),
    }
}

#[test]
fn atlassian_needs_its_scopes_and_tells_no_address_and_no_group() {
    let config = OperatorConfig::offline();
    let atlassian = |scopes: Value, access: Value| preset("Atlassian", &scopes, access);
    let everyone = || json!({ "everyone": {} });
    let all = || json!(["read:me", "offline_access", "read:jira-work"]);
    let valid = check(atlassian(all(), everyone()), &world(), &config).unwrap();
    assert_eq!(valid.warnings, []);
    let oauth2 = oauth2_of(&valid);
    assert_eq!(oauth2.authorization_url, "https://auth.atlassian.com/authorize");
    assert_eq!((oauth2.user_info.emails_url.as_ref(), oauth2.user_info.teams_url.as_ref()), (None, None));

    let found = problem(atlassian(json!(["offline_access"]), everyone()), &world(), &config);
    let field = "spec.identity.oauth2.scopes";
    says(&found, Reason::ScopeMissing, field, &["\"read:me\"", "offline_access", "Atlassian"]);
    let valid = check(atlassian(json!(["read:me"]), everyone()), &world(), &config).unwrap();
    assert!(valid.warnings[0].message.contains("\"offline_access\""), "{:?}", valid.warnings);

    for (field, value, what) in [
        ("emails", json!(["mia@example.com"]), "verified e-mail addresses"),
        ("emailDomains", json!(["example.com"]), "verified e-mail addresses"),
        ("groups", json!(["acme"]), "groups"),
    ] {
        let access = json!({ "allow": [{ field: value }] });
        let found = problem(atlassian(all(), access), &world(), &config);
        let field = format!("spec.access.allow[0].{field}");
        says(&found, Reason::Invalid, &field, &["Atlassian", what, "subjects"]);
    }
}

#[test]
fn what_a_preset_sends_gives_way_to_what_is_given() {
    let everyone = json!({ "everyone": {} });
    let mut server = preset("Atlassian", &json!(["read:me", "offline_access"]), everyone);
    let sent = |server: &Value| {
        let valid = check(server.clone(), &world(), &OperatorConfig::offline()).unwrap();
        oauth2_of(&valid).extra_parameters.clone()
    };
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(sent(&server), [pair("audience", "api.atlassian.com"), pair("prompt", "consent")]);
    server["spec"]["identity"]["oauth2"]["extraParameters"] =
        json!([{ "name": "hint", "value": "1" }, { "name": "audience", "value": "api.example.com" }]);
    let expected = [pair("prompt", "consent"), pair("hint", "1"), pair("audience", "api.example.com")];
    assert_eq!(sent(&server), expected);
}

#[test]
fn bitbucket_asks_for_no_scopes() {
    let rules = || json!({ "allow": [{ "groups": ["acme"], "emailDomains": ["example.com"] }] });
    let config = OperatorConfig::offline();
    let valid = check(preset("Bitbucket", &json!([]), rules()), &world(), &config).unwrap();
    assert_eq!(valid.warnings, []);
    let oauth2 = oauth2_of(&valid);
    assert_eq!(oauth2.authorization_url, "https://bitbucket.org/site/oauth2/authorize");
    assert_eq!(oauth2.extra_parameters, []);
    let valid = check(preset("Bitbucket", &json!(["account"]), rules()), &world(), &config).unwrap();
    assert!(valid.warnings[0].message.contains("permissions of the consumer"), "{:?}", valid.warnings);
}

#[test]
fn an_openid_provider_is_asked_for_what_access_needs() {
    let oidc = |scopes: Value| {
        let oidc = json!({ "issuer": "https://sso.example.com", "clientId": "x", "scopes": scopes });
        with("/spec/identity", json!({ "oidc": oidc }))
    };
    let found = problem(oidc(json!(["profile"])), &world(), &OperatorConfig::offline());
    says(&found, Reason::ScopeMissing, "spec.identity.oidc.scopes", &["\"email\"", "profile"]);
    assert!(check(oidc(json!([])), &world(), &OperatorConfig::offline()).is_ok());
    // `email_verified` says nothing of another claim.
    let mut other = oidc(json!([]));
    other["spec"]["identity"]["oidc"]["claims"] = json!({ "email": "upn" });
    let found = problem(other.clone(), &world(), &OperatorConfig::offline());
    says(&found, Reason::Invalid, "spec.identity.oidc.claims.emailVerified", &["\"upn\"", "emailDomains"]);
    other["spec"]["identity"]["oidc"]["claims"]["emailVerified"] = json!("upn_verified");
    assert!(check(other, &world(), &OperatorConfig::offline()).is_ok());
}

#[test]
fn explicit_endpoints_must_tell_what_access_asks() {
    let oauth2 = json!({
        "authorizationUrl": "https://idp.example.com/authorize", "tokenUrl": "https://idp.example.com/token",
        "userInfo": { "url": "https://idp.example.com/me", "subject": "/id" },
        "clientId": "x", "clientSecretRef": { "name": "api", "key": "key" } });
    let problems =
        check(with("/spec/identity", json!({ "oauth2": oauth2 })), &world(), &OperatorConfig::offline())
            .unwrap_err();
    let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 2, "{texts:?}");
    assert!(texts[0].contains("userInfo.groups") && texts[1].contains("userInfo.emailVerified"), "{texts:?}");
}

#[test]
fn two_ways_to_sign_in_or_to_allow_are_invalid() {
    let found = broken("/spec/identity/local", json!({ "usersSecretRef": { "name": "api", "key": "key" } }));
    says(&found, Reason::Invalid, "spec.identity", &["exactly one"]);
    let found = broken("/spec/identity/oauth2/tokenUrl", json!("https://x.example.com/token"));
    says(&found, Reason::Invalid, "spec.identity.oauth2", &["either provider"]);
    let found = broken("/spec/access", json!({}));
    says(&found, Reason::Invalid, "spec.access", &["exactly one"]);
    let found = broken("/spec/access/deny", json!([{}]));
    says(&found, Reason::Invalid, "spec.access.deny[0]", &["at least one"]);
}

#[test]
fn everyone_and_a_shared_credential_do_not_go_together() {
    let found = broken("/spec/access", json!({ "everyone": {} }));
    says(&found, Reason::Invalid, "spec.access.everyone", &["\"api\"", "spec.access.allow"]);
}

#[test]
fn inject_names_a_credential_and_a_place_for_it() {
    let found = broken("/spec/backends/0/inject/0/credential", json!("you"));
    says(&found, Reason::Invalid, "spec.backends[0].inject[0].credential", &["\"you\"", "me, api"]);
    let found = broken("/spec/backends/0/inject/0/format", json!("Bearer"));
    says(&found, Reason::Invalid, "spec.backends[0].inject[0].format", &["{token}"]);
}

#[test]
fn a_credential_that_no_call_carries_is_warned_of() {
    let valid =
        check(with("/spec/backends/0/inject", json!([])), &world(), &OperatorConfig::offline()).unwrap();
    assert_eq!(valid.warnings.len(), 2);
    assert!(valid.warnings[0].message.contains("injected nowhere"));
}

#[test]
fn egress_to_services_of_the_cluster_is_refused() {
    let backend = |url: &str| with("/spec/backends", json!([{ "name": "tools", "url": url }]));
    for url in ["https://tools.team-b.svc/mcp", "https://tools.team-b.svc.cluster.local/mcp"] {
        let found = problem(backend(url), &world(), &OperatorConfig::offline());
        says(&found, Reason::NotAllowed, "spec.backends[0].url", &[url, "use service"]);
    }
    let found = problem(backend("http://tools.example.com/mcp"), &world(), &OperatorConfig::offline());
    says(&found, Reason::Invalid, "spec.backends[0].url", &["must be https", "- tools.example.com"]);
    assert!(check(backend("https://tools.example.com/mcp"), &world(), &OperatorConfig::offline()).is_ok());
}

#[test]
fn an_identity_provider_in_the_cluster_must_be_listed() {
    let oidc =
        |issuer: &str| with("/spec/identity", json!({ "oidc": { "issuer": issuer, "clientId": "x" } }));
    let mut config = OperatorConfig::offline();
    let https = oidc("https://keycloak.sso.svc/realms/a");
    let found = problem(https.clone(), &world(), &config);
    says(&found, Reason::NotAllowed, "spec.identity.oidc.issuer", &["egress.allow", "- keycloak.sso.svc"]);
    let http = oidc("http://keycloak.sso.svc:8080/realms/a");
    let found = problem(http.clone(), &world(), &config);
    says(&found, Reason::Invalid, "spec.identity.oidc.issuer", &["must be https", "- keycloak.sso.svc"]);
    config.egress.allow = vec!["*.sso.svc".to_owned()];
    assert!(check(https, &world(), &config).is_ok() && check(http, &world(), &config).is_ok());
}

#[test]
fn tolerations_affinity_elsewhere_and_priorities_are_the_admins_to_allow() {
    let mut config = OperatorConfig::offline();
    config.gateway.allow_tolerations = false;
    let tolerant = with("/spec/gateway", json!({ "pod": { "tolerations": [{ "operator": "Exists" }] } }));
    assert!(check(tolerant.clone(), &world(), &OperatorConfig::offline()).is_ok());
    let found = problem(tolerant, &world(), &config);
    says(&found, Reason::NotAllowed, "spec.gateway.pod.tolerations", &["gateway.allowTolerations"]);

    let term = |more: Value| {
        let mut term = json!({ "labelSelector": {}, "topologyKey": "topology.kubernetes.io/zone" });
        term.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        term
    };
    let required = |term: Value| json!({ "requiredDuringSchedulingIgnoredDuringExecution": [term] });
    let preferred = |term: Value| json!({ "preferredDuringSchedulingIgnoredDuringExecution": [{ "weight": 1, "podAffinityTerm": term }] });
    let near = |affinity: Value| with("/spec/gateway", json!({ "pod": { "affinity": affinity } }));
    for elsewhere in [json!({ "namespaceSelector": {} }), json!({ "namespaces": ["team-b"] })] {
        for kind in ["podAffinity", "podAntiAffinity"] {
            for affinity in [required(term(elsewhere.clone())), preferred(term(elsewhere.clone()))] {
                let server = near(json!({ kind: affinity }));
                let found = problem(server.clone(), &world(), &config);
                says(
                    &found,
                    Reason::NotAllowed,
                    "spec.gateway.pod.affinity",
                    &["gateway.allowCrossNamespaceAffinity"],
                );
                let mut config = config.clone();
                config.gateway.allow_cross_namespace_affinity = true;
                assert!(check(server, &world(), &config).is_ok());
            }
        }
    }
    let own = near(json!({ "podAntiAffinity": required(term(json!({}))) }));
    assert!(check(own, &world(), &config).is_ok());

    let important = with("/spec/gateway", json!({ "pod": { "priorityClassName": "high" } }));
    let found = problem(important.clone(), &world(), &config);
    says(&found, Reason::NotAllowed, "spec.gateway.pod.priorityClassName", &["\"high\"", "allowed: none"]);
    config.gateway.allowed_priority_classes = vec!["high".to_owned()];
    assert!(check(important, &world(), &config).is_ok());
}

#[test]
fn resources_are_checked_and_made_canonical() {
    let gateway = |requests: Value, limits: Value| {
        with("/spec/gateway", json!({ "resources": { "requests": requests, "limits": limits } }))
    };
    let valid = check(
        gateway(json!({ "cpu": 1, "memory": "1024Mi" }), json!({ "cpu": "1500m" })),
        &world(),
        &OperatorConfig::offline(),
    );
    let resources = serde_json::to_value(valid.unwrap().pods.resources).unwrap();
    assert_eq!(
        resources,
        json!({ "requests": { "cpu": "1", "memory": "1Gi" }, "limits": { "cpu": "1500m" } })
    );
    let cases = [
        (gateway(json!({ "cpu": "lots" }), json!({})), "spec.gateway.resources.requests.cpu", "\"lots\""),
        (gateway(json!({}), json!({ "gpu": 1 })), "spec.gateway.resources.limits", "\"gpu\""),
        (
            gateway(json!({ "cpu": 2 }), json!({ "cpu": 1 })),
            "spec.gateway.resources.requests",
            "more than its limit",
        ),
    ];
    for (value, field, words) in cases {
        says(&problem(value, &world(), &OperatorConfig::offline()), Reason::Invalid, field, &[words]);
    }
}

#[test]
fn labels_that_the_api_server_would_refuse_are_invalid() {
    let pod = |pod: Value| with("/spec/gateway", json!({ "pod": pod }));
    let cases = [
        (pod(json!({ "labels": { "a b": "c" } })), "spec.gateway.pod.labels", "qualified name"),
        (pod(json!({ "labels": { "a": "b c" } })), "spec.gateway.pod.labels", "label value"),
        (
            pod(json!({ "labels": { "gatehouse.dev/server": "x" } })),
            "spec.gateway.pod.labels",
            "the operator's",
        ),
        (pod(json!({ "annotations": { "/a": "b c" } })), "spec.gateway.pod.annotations", "qualified name"),
        (pod(json!({ "nodeSelector": { "a": "b c" } })), "spec.gateway.pod.nodeSelector", "label value"),
    ];
    for (value, field, words) in cases {
        says(&problem(value, &world(), &OperatorConfig::offline()), Reason::Invalid, field, &[words]);
    }
}

#[test]
fn what_the_api_server_cannot_apply_twice_is_invalid() {
    let pod = |pod: Value| with("/spec/gateway", json!({ "pod": pod }));
    let spread =
        |key: &str, when: &str| json!({ "maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": when });
    let pulled = json!({ "imagePullSecrets": [{ "name": "a" }, { "name": "b" }, { "name": "a" }] });
    let found = problem(pod(pulled), &world(), &OperatorConfig::offline());
    says(&found, Reason::Invalid, "spec.gateway.pod.imagePullSecrets", &["\"a\" stands twice"]);
    let twice =
        [spread("zone", "DoNotSchedule"), spread("zone", "ScheduleAnyway"), spread("zone", "DoNotSchedule")];
    let found =
        problem(pod(json!({ "topologySpreadConstraints": twice })), &world(), &OperatorConfig::offline());
    says(&found, Reason::Invalid, "spec.gateway.pod.topologySpreadConstraints", &["zone", "DoNotSchedule"]);
    let both = json!({ "topologySpreadConstraints": twice[..2], "imagePullSecrets": [{ "name": "a" }, { "name": "b" }] });
    let mut config = OperatorConfig::offline();
    config.gateway.image_pull_secrets = vec!["a".to_owned()];
    check(pod(both), &world(), &config).unwrap();
}

#[test]
fn a_policy_may_be_required() {
    let mut config = OperatorConfig::offline();
    config.policy.required = true;
    let found = problem(good(), &world(), &config);
    says(&found, Reason::NoPolicy, "metadata.name", &["team-a", "policy.required"]);
    let mut fetched = world();
    fetched.policies.readable =
        vec![policy(&json!({ "targetRefs": [{ "selector": {} }], "lifetimes": { "accessToken": "2h" } }))];
    let valid = check(good(), &fetched, &config).unwrap();
    assert_eq!(valid.policy.name.as_deref(), Some("default"));
    assert_eq!(valid.server().policy.lifetimes.access_token.as_secs(), 7200);
}

#[test]
fn a_ceiling_closes_documents_whatever_a_policy_says() {
    let mut config = OperatorConfig::offline();
    config.policy.ceilings =
        Some(serde_json::from_value(json!({ "metadataDocuments": { "mode": "Refused" } })).unwrap());
    let said = "registration.metadataDocuments.mode from Allowed to Refused";
    let open = json!({ "targetRefs": [{ "selector": {} }], "registration": { "metadataDocuments": {} } });
    for policies in [vec![], vec![policy(&open)]] {
        let mut fetched = world();
        fetched.policies.readable = policies;
        let valid = check(good(), &fetched, &config).unwrap();
        assert!(!valid.server().policy.metadata_documents.as_ref().unwrap().admits("claude.ai"));
        assert_eq!(valid.policy.capped, [said]);
    }
    // A server on loopback has none to close, unless its policy opens them.
    let local = with("/spec/url", json!("http://localhost:8080/mcp"));
    assert_eq!(check(local, &world(), &config).unwrap().server().policy.metadata_documents, None);
}

#[test]
fn ceilings_lower_a_policy_and_the_default() {
    let mut config = OperatorConfig::offline();
    config.policy.ceilings =
        Some(serde_json::from_value(json!({ "lifetimes": { "accessToken": "10m" } })).unwrap());
    let valid = check(good(), &world(), &config).unwrap();
    assert_eq!(valid.server().policy.lifetimes.access_token.as_secs(), 600);
    assert_eq!(valid.policy.capped, ["lifetimes.accessToken from 1h to 10m"]);
    assert_eq!(valid.policy.name, None);
}

fn policy(spec: &Value) -> OAuthClientPolicy {
    let metadata = json!({ "name": "default", "namespace": "team-a" });
    serde_json::from_value(json!({ "apiVersion": "gatehouse.dev/v1alpha1", "kind": "OAuthClientPolicy",
        "metadata": metadata, "spec": spec }))
    .unwrap()
}

#[test]
fn references_that_do_not_resolve() {
    let mut fetched = world();
    fetched.secrets.remove("github-oauth");
    fetched.secrets.insert("api".to_owned(), ["other".to_owned()].into());
    let problems = check(good(), &fetched, &OperatorConfig::offline()).unwrap_err();
    assert!(problems.iter().all(|p| p.condition == ConditionType::ResolvedRefs));
    says(
        &problems[0],
        Reason::RefNotFound,
        "spec.identity.oauth2.clientSecretRef",
        &["github-oauth", "team-a"],
    );
    says(&problems[1], Reason::KeyNotFound, "spec.credentials[1].static.secretRef", &["\"key\"", "other"]);
    fetched = world();
    fetched.bad_content.insert(("api".to_owned(), "key".to_owned()), "is not text".to_owned());
    let found = problem(good(), &fetched, &OperatorConfig::offline());
    says(&found, Reason::InvalidRef, "spec.credentials[1].static.secretRef", &["is not text"]);
}

#[test]
fn services_that_do_not_resolve() {
    let mut fetched = world();
    let config = OperatorConfig::offline();
    let found = problem(with("/spec/backends/0/service/port", json!(81)), &fetched, &config);
    says(&found, Reason::ServiceNotFound, "spec.backends[0].service.port", &["81", "8080"]);
    let external = json!({ "spec": { "type": "ExternalName", "externalName": "x.team-b.svc", "ports": [{ "port": 8080 }] } });
    fetched.services.insert("github-tools".to_owned(), serde_json::from_value(external).unwrap());
    let found = problem(good(), &fetched, &config);
    says(&found, Reason::RefNotPermitted, "spec.backends[0].service.name", &["ExternalName"]);
    let written = json!({ "spec": { "clusterIP": "None", "ports": [{ "port": 8080 }] } });
    fetched.services.insert("github-tools".to_owned(), serde_json::from_value(written).unwrap());
    let found = problem(good(), &fetched, &config);
    says(&found, Reason::RefNotPermitted, "spec.backends[0].service.name", &["neither an address", "url"]);
    fetched.services.clear();
    let found = problem(good(), &fetched, &config);
    says(&found, Reason::ServiceNotFound, "spec.backends[0].service.name", &["github-tools", "team-a"]);
    fetched.assume_refs = true;
    assert!(check(good(), &fetched, &config).unwrap().twin.is_none());
}

/// A Service can be turned into an alias of any name after it was accepted.
#[test]
fn a_service_is_told_to_the_gateway_by_its_addresses_too() {
    let target = |spec: &str, ips: serde_json::Value| {
        let mut fetched = world();
        let live = fetched.services.get_mut("github-tools").unwrap();
        let mut value = serde_json::to_value(&*live).unwrap();
        value["spec"][spec] = ips;
        *live = serde_json::from_value(value).unwrap();
        let valid = check(good(), &fetched, &OperatorConfig::offline()).unwrap();
        serde_json::to_value(&valid.server().backends[0].target).unwrap()["service"].clone()
    };
    let both = json!(["10.0.0.7", "fd00::7"]);
    assert_eq!(target("clusterIPs", both.clone())["addresses"], both);
    assert_eq!(target("clusterIP", json!("10.0.0.7"))["addresses"], json!(["10.0.0.7"]));
    let headless = target("clusterIP", json!("None"));
    assert_eq!((&headless["headless"], &headless["addresses"]), (&json!(true), &json!(null)));
    assert!(headless["pods"]["host"].is_string(), "{headless}");
}

#[test]
fn lost_and_unusable_keys() {
    let mut fetched = world();
    fetched.keys = Keys::Lost { instance: "k3v9x2".to_owned() };
    let found = problem(good(), &fetched, &OperatorConfig::offline());
    let command = "kubectl annotate mcps github -n team-a gatehouse.dev/accept-key-loss=k3v9x2";
    says(&found, Reason::KeysLost, "status.keys.instance", &["github-gateway-keys", command]);
    fetched.keys = Keys::Replaced { instance: "k3v9x2".to_owned(), found: "other1".to_owned() };
    let found = problem(good(), &fetched, &OperatorConfig::offline());
    says(&found, Reason::KeysLost, "status.keys.instance", &["github-gateway-keys", "other1", command]);
    fetched.keys = Keys::Unusable { why: "another owner".to_owned() };
    let found = problem(good(), &fetched, &OperatorConfig::offline());
    says(&found, Reason::KeysInvalid, "status.keys.secret", &["another owner"]);
}

#[test]
fn the_tenants_redis_secret() {
    let mut config = OperatorConfig::offline();
    config.redis.users = RedisUsers::Provided;
    let mut fetched = world();
    let found = problem(good(), &fetched, &config);
    says(&found, Reason::RefNotFound, "metadata.namespace", &["gatehouse-redis", "username, password"]);
    fetched.secrets.insert("gatehouse-redis".to_owned(), ["user".to_owned()].into());
    let found = problem(good(), &fetched, &config);
    says(&found, Reason::KeyNotFound, "metadata.namespace", &["\"password\""]);
    fetched.secrets.insert("gatehouse-redis".to_owned(), ["password".to_owned()].into());
    let valid = check(good(), &fetched, &config).unwrap();
    assert_eq!(valid.config.redis.unwrap().auth.unwrap().username, None);
}

#[test]
fn everything_is_said_at_once_and_acceptance_comes_first() {
    let mut fetched = world();
    fetched.secrets.clear();
    let mut value = with("/spec/url", json!("https://github.mcp.example.com/"));
    value["spec"]["identity"]["oauth2"]["scopes"] = json!([]);
    value["spec"]["gateway"] = json!({ "resources": { "requests": { "cpu": "x" } } });
    let problems = check(value, &fetched, &OperatorConfig::offline()).unwrap_err();
    let reasons: Vec<Reason> = problems.iter().map(|p| p.reason).collect();
    assert_eq!(reasons.iter().filter(|r| **r == Reason::RefNotFound).count(), 2, "{problems:?}");
    assert_eq!(reasons.iter().filter(|r| **r == Reason::ScopeMissing).count(), 2, "{problems:?}");
    assert!(problems.windows(2).all(|w| w[0].condition <= w[1].condition));
}

fn with_clients(clients: &Value) -> Fetched {
    let spec = json!({ "targetRefs": [{ "selector": {} }], "clients": clients });
    Fetched { policies: Policies { readable: vec![policy(&spec)], ..Policies::default() }, ..world() }
}

fn secret(name: &str, key: &str) -> Value {
    json!({ "name": name, "key": key })
}

#[test]
fn listed_clients_reach_the_gateway_and_their_secrets_the_pods() {
    let clients = json!([{ "clientId": "ci", "redirectUris": ["https://ci.example.com/cb"],
        "secretRefs": [secret("ci", "old"), secret("ci", "new")] }]);
    let mut fetched = with_clients(&clients);
    fetched.secrets.insert("ci".to_owned(), ["old".to_owned()].into());
    let valid = check(good(), &fetched, &OperatorConfig::offline()).unwrap();
    let found = &valid.server().policy.clients;
    assert_eq!((found.len(), found[0].secrets.len()), (1, 2));
    assert!(valid.mounts.contains(&(gatehouse_gateway_config::RefKind::Secret, "ci".to_owned())));
    // A Secret that is missing refuses the client, not the server.
    let warned: Vec<&str> = valid.warnings.iter().map(|w| w.field.as_str()).collect();
    assert_eq!(warned, ["OAuthClientPolicy \"default\": spec.clients[0].secretRefs[1]"]);
    let elsewhere = Fetched { policies: Policies::default(), ..fetched };
    let valid = check(good(), &elsewhere, &OperatorConfig::offline()).unwrap();
    assert!(valid.server().policy.clients.is_empty() && valid.warnings.is_empty());
}

#[test]
fn a_robot_needs_a_server_whose_credentials_are_not_per_user() {
    let clients = json!([
        { "clientId": "robot", "grants": ["client_credentials"], "secretRefs": [secret("api", "key")] },
        { "clientId": "both", "grants": ["client_credentials", "authorization_code"],
            "redirectUris": ["https://ci.example.com/cb"], "secretRefs": [secret("api", "key")] },
    ]);
    let fetched = with_clients(&clients);
    let valid = check(good(), &fetched, &OperatorConfig::offline()).unwrap();
    // It is refused, and nobody else is.
    let ids: Vec<&str> = valid.server().policy.clients.iter().map(|c| c.client_id.as_str()).collect();
    assert_eq!(ids, ["both"]);
    assert_eq!(valid.server().policy.clients[0].grants.len(), 1);
    let field = "OAuthClientPolicy \"default\": spec.clients[0].grants";
    says(&valid.warnings[0], Reason::Accepted, field, &["robot", "\"me\""]);
    let inject = json!([{ "credential": "api", "header": "X-Api-Key", "format": "{token}" }]);
    let shared = with("/spec/backends/0/inject", inject);
    let valid = check(shared, &fetched, &OperatorConfig::offline()).unwrap();
    assert_eq!(valid.server().policy.clients[0].client_id, "robot");
}

#[test]
fn a_listed_client_with_a_bad_address_is_refused_and_the_server_is_not() {
    for (uri, fine) in [
        ("https://ci.example.com/cb", true),
        ("http://localhost:80/cb", true),
        ("com.example.app:/cb", true),
        ("http://ci.example.com/cb", false),
        ("javascript://x/%0aalert(1)", false),
        ("https://ci.example.com/cb?code=x", false),
    ] {
        let good_one = json!({ "clientId": "good", "redirectUris": ["https://ci.example.com/cb"] });
        let fetched = with_clients(&json!([{ "clientId": "ci", "redirectUris": [uri] }, good_one]));
        let valid = check(good(), &fetched, &OperatorConfig::offline()).unwrap();
        assert_eq!(valid.server().policy.clients.len(), 1 + usize::from(fine), "{uri}");
        if !fine {
            let field = "OAuthClientPolicy \"default\": spec.clients[0].redirectUris[0]";
            says(&valid.warnings[0], Reason::Accepted, field, &["client \"ci\" is refused"]);
        }
    }
}

#[test]
fn the_scopes_that_bind_a_client_are_scopes_of_the_server() {
    let bound = |scopes: &[&str]| {
        with_clients(
            &json!([{ "clientId": "ci", "redirectUris": ["https://ci.example.com/cb"], "scopes": scopes }]),
        )
    };
    let scopes = json!([{ "name": "read", "default": true }, { "name": "write" }]);
    let of = |server: Value, scopes: &[&str]| {
        let valid = check(server, &bound(scopes), &OperatorConfig::offline()).unwrap();
        (valid.server().policy.clients.first().and_then(|c| c.scopes.clone()), valid.warnings)
    };
    let scoped = with("/spec/scopes", scopes);
    assert_eq!(of(scoped.clone(), &["write"]), (Some(vec!["write".to_owned()]), Vec::new()));
    assert_eq!(of(good(), &["mcp"]).0, Some(vec!["mcp".to_owned()]), "the one that each server has");
    let (found, warnings) = of(scoped, &["read", "wriet"]);
    assert_eq!(found, None);
    let field = "OAuthClientPolicy \"default\": spec.clients[0].scopes";
    says(&warnings[0], Reason::Accepted, field, &["\"wriet\"", "read, write", "\"ci\" is refused"]);
}
