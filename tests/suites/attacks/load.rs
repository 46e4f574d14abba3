//! 71, 88 and 93: the same thing many times at once, over two replicas.

use std::{collections::HashSet, time::Duration};

use e2e::github::Quirk;

use crate::world::{Attack, works};

pub(crate) async fn r071_one_code_a_hundred_times_at_once(attack: &Attack) {
    let client = attack.client(attack.a()).await;
    for _ in 0..3 {
        let code = client.code(&attack.visitor()).await;
        let answers = futures::future::join_all((0..100).map(|_| client.redeem(&code))).await;
        let good: Vec<_> = answers.iter().filter(|a| a.status == 200).collect();
        assert_eq!(good.len(), 1, "{:?}", answers.iter().map(|a| a.status).collect::<Vec<_>>());
        for answer in answers.iter().filter(|a| a.status != 200) {
            assert!(answer.is_error(400, "invalid_grant"), "{} {}", answer.status, answer.text);
        }
        // The losers were as fast as the winner: they end nothing.
        assert!(works(&client, &good[0].get("access_token")).await);
    }
}

pub(crate) async fn r088_one_refresh_token_fifty_times_at_once(attack: &Attack) {
    let client = attack.client(attack.a()).await;
    let (_, mut refresh) = client.tokens(&attack.visitor()).await;
    for _ in 0..3 {
        let answers = futures::future::join_all((0..50).map(|_| client.refresh(&refresh))).await;
        assert!(
            answers.iter().all(|a| a.status == 200),
            "{:?}",
            answers.iter().map(|a| a.status).collect::<Vec<_>>()
        );
        let pairs: HashSet<_> =
            answers.iter().map(|a| (a.get("access_token"), a.get("refresh_token"))).collect();
        assert_eq!(pairs.len(), 1, "more than one lineage");
        let (access, next) = pairs.into_iter().next().unwrap();
        assert!(works(&client, &access).await);
        refresh = next;
    }
}

pub(crate) async fn r093_an_expired_upstream_token_is_renewed_once(attack: &Attack) {
    let github = &attack.world.github;
    let client = attack.client(attack.a()).await;
    let (browser, login) = attack.visitor_of(github);
    github.set_quirk(&login, Some(Quirk::Brief(Duration::from_secs(1))));
    let (access, _) = client.tokens(&browser).await;
    e2e::net::eventually("the token to expire", async || github.tokens_of(&login).is_empty().then_some(()))
        .await;
    let answers = futures::future::join_all((0..50).map(|_| client.whoami(Some(&access)))).await;
    for answer in &answers {
        assert_eq!(
            answer.json()["result"]["content"][0]["text"],
            login.as_str(),
            "{} {}",
            answer.status,
            answer.text
        );
    }
    assert_eq!(github.renewals_of(&login), 1);
    assert_eq!(github.tokens_of(&login).len(), 1);
}
