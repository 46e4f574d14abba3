//! OAuthClientPolicies: which one wins, their status, and that no trigger is lost.

use e2e::{
    apiserver::{ApiServer, Kubelet},
    net::eventually,
    operator::{Operator, apply, config, reaches, ready, references, server},
    redis::Redis,
};
use gatehouse_operator::crd::{McpServer, OAuthClientPolicy};
use kube::{Api, Client, api::DeleteParams};
use serde_json::{Value, json};

fn policy(name: &str, target: &Value, access: &str) -> Value {
    json!({
        "apiVersion": "gatehouse.dev/v1alpha1", "kind": "OAuthClientPolicy", "metadata": { "name": name },
        "spec": { "targetRefs": [target], "lifetimes": { "accessToken": access } },
    })
}

/// Waits until a policy's conditions Accepted and Programmed have these reasons at its generation.
async fn says(
    client: &Client,
    namespace: &str,
    name: &str,
    accepted: &str,
    programmed: &str,
) -> OAuthClientPolicy {
    let api: Api<OAuthClientPolicy> = Api::namespaced(client.clone(), namespace);
    eventually(&format!("{name}: {accepted}, {programmed}"), async || {
        let policy = api.get_opt(name).await.ok()??;
        let status = policy.status.clone()?;
        let reason =
            |type_: &str| status.conditions.iter().find(|c| c.type_ == type_).map(|c| c.reason.clone());
        let current = status.observed_generation == policy.metadata.generation;
        (current && reason("Accepted")? == accepted && reason("Programmed")? == programmed).then_some(policy)
    })
    .await
}

/// Waits until a server runs with a policy, or with none.
async fn runs_with(client: &Client, namespace: &str, name: &str, policy: Option<&str>) {
    let api: Api<McpServer> = Api::namespaced(client.clone(), namespace);
    eventually(&format!("{name} to run with {policy:?}"), async || {
        let status = api.get(name).await.ok()?.status?;
        (status.policy.as_ref().map(|p| p.name.as_str()) == policy).then_some(())
    })
    .await;
    ready(client, namespace, name).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_most_specific_wins_and_each_says_what_became_of_it() {
    let api = ApiServer::shared().await;
    let client = api.client();
    let namespace = api.namespace("policy").await;
    references(&client, &namespace).await;
    let redis = Redis::start().await;
    let _operator = Operator::start(api.config(), &namespace, &redis.url()).await;
    let _kubelet = Kubelet::start(client.clone(), &namespace);

    apply::<OAuthClientPolicy>(&client, &namespace, &policy("wide", &json!({ "selector": {} }), "2h")).await;
    says(&client, &namespace, "wide", "TargetNotFound", "TargetNotFound").await;
    apply::<McpServer>(&client, &namespace, &server("one")).await;
    apply::<McpServer>(&client, &namespace, &server("two")).await;
    runs_with(&client, &namespace, "one", Some("wide")).await;
    let wide = says(&client, &namespace, "wide", "Accepted", "Programmed").await;
    assert_eq!(wide.status.unwrap().targets.unwrap().matched, 2);

    apply::<OAuthClientPolicy>(&client, &namespace, &policy("narrow", &json!({ "name": "one" }), "1h")).await;
    runs_with(&client, &namespace, "one", Some("narrow")).await;
    says(&client, &namespace, "narrow", "Accepted", "Programmed").await;
    let wide = says(&client, &namespace, "wide", "Accepted", "PartiallyProgrammed").await;
    let targets = wide.status.unwrap().targets.unwrap();
    assert_eq!((targets.matched, targets.programmed, targets.overridden), (2, 1, 1));

    // The terms of an edit count when the pods have them.
    apply::<OAuthClientPolicy>(&client, &namespace, &policy("narrow", &json!({ "name": "one" }), "30m"))
        .await;
    let narrow = says(&client, &namespace, "narrow", "Accepted", "Programmed").await.metadata;
    let api: Api<McpServer> = Api::namespaced(client.clone(), &namespace);
    let runs = api.get("one").await.unwrap().status.unwrap().policy.unwrap();
    assert_eq!((runs.uid, runs.generation), (narrow.uid, narrow.generation));

    // A mapper sees only the new selector: the server that the policy leaves must hear of it too.
    apply::<OAuthClientPolicy>(&client, &namespace, &policy("narrow", &json!({ "name": "two" }), "1h")).await;
    runs_with(&client, &namespace, "two", Some("narrow")).await;
    runs_with(&client, &namespace, "one", Some("wide")).await;

    let policies: Api<OAuthClientPolicy> = Api::namespaced(client.clone(), &namespace);
    for name in ["narrow", "wide"] {
        policies.delete(name, &DeleteParams::default()).await.unwrap();
    }
    runs_with(&client, &namespace, "one", None).await;
    runs_with(&client, &namespace, "two", None).await;
    reaches(&client, &namespace, "one", "gatehouse.dev/OAuthClientPolicyAffected", "False", "DefaultPolicy")
        .await;
}

/// The targets that a policy's status names, with who signed, in the order of their names.
async fn signed(client: &Client, namespace: &str, policy: &str) -> Vec<(String, String)> {
    let api: Api<OAuthClientPolicy> = Api::namespaced(client.clone(), namespace);
    let status = api.get(policy).await.unwrap().status.unwrap_or_default();
    let mut signed: Vec<_> =
        status.ancestors.into_iter().map(|a| (a.ancestor_ref.name, a.controller_name)).collect();
    signed.sort();
    signed
}

#[tokio::test(flavor = "multi_thread")]
async fn two_operators_share_a_policy_and_each_keeps_the_others_word() {
    let api = ApiServer::shared().await;
    let client = api.client();
    let namespace = api.namespace("shared").await;
    references(&client, &namespace).await;
    let redis = Redis::start().await;
    let start = async |colour: &str| {
        let mut settings = config(&[&namespace], &redis.url());
        settings.watch.label_selector = Some(format!("colour={colour}"));
        Operator::with(api.config(), settings, colour, None).await
    };
    let (blue, green) = (start("blue").await, start("green").await);
    let _kubelet = Kubelet::start(client.clone(), &namespace);
    let of = |name: &str, colour: &str| (name.to_owned(), format!("gatehouse.dev/operator/colour={colour}"));
    for (name, colour) in [("one", "blue"), ("two", "green"), ("three", "blue")] {
        let mut server = server(name);
        server["metadata"]["labels"] = json!({ "colour": colour });
        apply::<McpServer>(&client, &namespace, &server).await;
    }
    apply::<OAuthClientPolicy>(&client, &namespace, &policy("wide", &json!({ "selector": {} }), "2h")).await;
    let wide = says(&client, &namespace, "wide", "Accepted", "Programmed").await;
    let targets = wide.status.unwrap().targets.unwrap();
    assert_eq!((targets.matched, targets.programmed), (3, 3));
    let all = [of("one", "blue"), of("three", "blue"), of("two", "green")];
    eventually("each to sign for its own", async || {
        (signed(&client, &namespace, "wide").await == all).then_some(())
    })
    .await;

    // Neither corrects the other, and what one has news of is written beside the other's.
    blue.quiet().await;
    green.quiet().await;
    let before = blue.metrics().writes() + green.metrics().writes();
    blue.quiet().await;
    green.quiet().await;
    assert_eq!(blue.metrics().writes() + green.metrics().writes(), before);
    apply::<OAuthClientPolicy>(&client, &namespace, &policy("wide", &json!({ "selector": {} }), "1h")).await;
    let wide = says(&client, &namespace, "wide", "Accepted", "Programmed").await;
    assert_eq!(wide.status.unwrap().targets.unwrap().programmed, 3);
    assert_eq!(signed(&client, &namespace, "wide").await, all);

    // A server that changes hands is signed for by its new operator alone, and so is what one alone has.
    for (name, colour) in [("one", "green"), ("three", "green")] {
        let mut server = server(name);
        server["metadata"]["labels"] = json!({ "colour": colour });
        apply::<McpServer>(&client, &namespace, &server).await;
    }
    let all = [of("one", "green"), of("three", "green"), of("two", "green")];
    eventually("the new operator to sign for all", async || {
        (signed(&client, &namespace, "wide").await == all).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_issuer_is_one_servers_and_is_free_when_that_goes() {
    let api = ApiServer::shared().await;
    let client = api.client();
    let namespace = api.namespace("issuer").await;
    references(&client, &namespace).await;
    let redis = Redis::start().await;
    let _operator = Operator::start(api.config(), &namespace, &redis.url()).await;
    let _kubelet = Kubelet::start(client.clone(), &namespace);
    let mut first = server("first");
    first["spec"]["url"] = json!("https://same.example.com/mcp");
    apply::<McpServer>(&client, &namespace, &first).await;
    ready(&client, &namespace, "first").await;
    let mut second = server("second");
    second["spec"]["url"] = json!("https://same.example.com/other");
    apply::<McpServer>(&client, &namespace, &second).await;
    reaches(&client, &namespace, "second", "Accepted", "False", "IssuerConflict").await;
    ready(&client, &namespace, "first").await;

    // The incumbent moves away: nobody edits the other, and it serves.
    first["spec"]["url"] = json!("https://first.example.com/mcp");
    apply::<McpServer>(&client, &namespace, &first).await;
    ready(&client, &namespace, "second").await;
}
