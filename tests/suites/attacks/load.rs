//! 71, 88 and 93: the same thing many times at once, over two replicas, while others go on with what they do.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use e2e::{
    balancer::REPLICA,
    browser::Browser,
    github::Quirk,
    oauth::{Answer, OAuthClient, REDIRECT_URI, VERIFIER},
};
use serde_json::json;

use crate::{
    bystanders::Background,
    upstream::runs_out,
    world::{Attack, works},
};

/// The two replicas, as a header names them.
pub(crate) const REPLICAS: [&str; 2] = ["0", "1"];

/// Asks the token endpoint of both replicas at once, `times` in all.
async fn at_once(client: &OAuthClient, form: &[(&str, &str)], times: usize) -> Vec<Answer> {
    let replicas = REPLICAS.into_iter().cycle().take(times);
    let asked = replicas.map(async |replica| client.post("/oauth/token", form, &[(REPLICA, replica)]).await);
    futures::future::join_all(asked).await
}

fn statuses(answers: &[Answer]) -> Vec<u16> {
    answers.iter().map(|answer| answer.status).collect()
}

fn redemption<'a>(client: &'a OAuthClient, code: &'a str, verifier: &'a str) -> [(&'a str, &'a str); 4] {
    [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", &client.redirect_uri),
        ("code_verifier", verifier),
    ]
}

pub(crate) async fn r071_one_code_a_hundred_times_at_once(attack: &Attack) {
    let client = attack.client(attack.a()).await;
    let ask = async |code: &str| at_once(&client, &redemption(&client, code, VERIFIER), 100).await;
    one_of_them_wins(attack, &client, ask).await;
}

/// Who has the code, but not its verifier or not its client, neither wins nor takes it from who does.
pub(crate) async fn r071_one_code_among_wrong_redemptions(attack: &Attack) {
    let client = attack.client(attack.a()).await;
    let other = attack.client(attack.a()).await;
    let wrong = "w".repeat(43);
    let ask = async |code: &str| {
        let asked = (0..100).map(async |n| {
            let (who, verifier) = match n % 4 {
                0 => (&client, wrong.as_str()),
                2 => (&other, VERIFIER),
                _ => (&client, VERIFIER),
            };
            let headers = [(REPLICA, REPLICAS[n / 4 % 2])];
            who.post("/oauth/token", &redemption(&client, code, verifier), &headers).await
        });
        let answers = futures::future::join_all(asked).await;
        // How a loser is refused is looked at with all others.
        assert!(answers.iter().step_by(2).all(|answer| answer.status != 200), "{:?}", statuses(&answers));
        answers
    };
    one_of_them_wins(attack, &client, ask).await;
}

/// Three times, of many redemptions of one code at once one is answered with tokens, which stay good.
async fn one_of_them_wins(attack: &Attack, client: &OAuthClient, ask: impl AsyncFn(&str) -> Vec<Answer>) {
    // On a slow machine some wait too long for Redis.
    attack.expect(&[503]);
    let others = Background::start(attack, Attack::a);
    let (mut rounds, mut tries) = (0, 0);
    while rounds < 3 {
        tries += 1;
        let browser = attack.visitor();
        let code = client.code(&browser).await;
        let begun = Instant::now();
        let answers = ask(&code).await;
        let took = begun.elapsed();
        let good: Vec<_> = answers.iter().filter(|a| a.status == 200).collect();
        // Who comes two seconds after the winner replays a code, which ends the sign-in: that is another row. And who has
        // waited as long for Redis is refused, the winner too.
        let slow = took >= Duration::from_secs(2);
        for answer in answers.iter().filter(|a| a.status != 200) {
            let refused = answer.is_error(400, "invalid_grant") || slow && answer.status == 503;
            assert!(refused, "{} {}", answer.status, answer.text);
        }
        if slow {
            assert!(good.len() <= 1, "{:?}", statuses(&answers));
            assert!(tries < 10, "a hundred requests take {took:?}, time and again");
            continue;
        }
        assert_eq!(good.len(), 1, "{:?}", statuses(&answers));
        rounds += 1;
        // The losers were as fast as the winner: they end nothing.
        assert!(works(client, &good[0].get("access_token"), browser.user()).await);
        assert_eq!(client.refresh(&good[0].get("refresh_token")).await.status, 200);
    }
    others.stop().await;
}

pub(crate) async fn r088_one_refresh_token_fifty_times_at_once(attack: &Attack) {
    let others = Background::start(attack, Attack::a);
    for method in ["none", "client_secret_post", "client_secret_basic"] {
        let client = attack.client_as(attack.a(), method, REDIRECT_URI).await;
        one_lineage(&client, &attack.visitor()).await;
    }
    others.stop().await;
}

async fn one_lineage(client: &OAuthClient, browser: &Browser) {
    let (_, mut refresh) = client.tokens(browser).await;
    for _ in 0..3 {
        let form = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str())];
        let answers = at_once(client, &form, 50).await;
        assert!(answers.iter().all(|a| a.status == 200), "{:?}", statuses(&answers));
        let pairs: HashSet<_> =
            answers.iter().map(|a| (a.get("access_token"), a.get("refresh_token"))).collect();
        assert_eq!(pairs.len(), 1, "more than one lineage");
        let (access, next) = pairs.into_iter().next().unwrap();
        assert!(works(client, &access, browser.user()).await);
        refresh = next;
    }
}

pub(crate) async fn r093_an_expired_upstream_token_is_renewed_once(attack: &Attack) {
    let github = &attack.world.github;
    let client = attack.client(attack.a()).await;
    let (browser, login) = attack.visitor_of(github);
    github.set_quirk(&login, Some(Quirk::Brief));
    let (access, _) = client.tokens(&browser).await;
    runs_out(attack, &login).await;
    let calls = REPLICAS.into_iter().cycle().take(50).map(async |replica| {
        let request = client.call_request(Some(&access), "whoami", json!({})).header(REPLICA, replica);
        attack.send(request).await
    });
    for answer in futures::future::join_all(calls).await {
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
