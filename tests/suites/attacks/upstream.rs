//! 92 and 128: the identity provider refuses, is busy, or is away.

use std::time::{Duration, Instant};

use e2e::{github::Quirk, redis::Redis};

use crate::world::{Attack, caller, code, consent, hub, works};

/// How long a provider is away, in seconds.
const AWAY: i64 = 15;
const SENTENCE: &str = "Your GitHub session expired, please sign in again.";

/// The provider's token of a user of [`World::github`](crate::world::World::github) whose treatment was [`Quirk::Brief`] runs
/// out, for the provider and by the clock that the gateway goes by.
pub(crate) async fn runs_out(attack: &Attack, login: &str) {
    let redis = &attack.world.redis;
    redis.until(redis.second().await + 2).await;
    attack.world.github.expire_tokens(login);
}

pub(crate) async fn r092_a_provider_that_refuses_or_is_busy(attack: &Attack) {
    attack.expect(&[503]);
    let github = &attack.world.github;
    let client = attack.client(attack.a()).await;
    let trouble = [Quirk::Status(500), Quirk::Status(429), Quirk::Html].map(|quirk| async {
        let quirk = quirk;
        let (browser, login) = attack.visitor_of(github);
        github.set_quirk(&login, Some(Quirk::Brief));
        let (access, _) = client.tokens(&browser).await;
        github.set_quirk(&login, Some(quirk.clone()));
        runs_out(attack, &login).await;
        let busy = client.whoami(Some(&access)).await;
        assert_eq!(busy.status, 503, "{quirk:?}: {}", busy.text);
        assert!(
            busy.header("retry-after").parse::<u32>().is_ok_and(|s| s >= 1),
            "{quirk:?}: {:?}",
            busy.headers
        );
        // Nothing was burnt: when it is well again, so is the call.
        github.set_quirk(&login, None);
        e2e::net::eventually("the call to work again", async || {
            let answer = client.whoami(Some(&access)).await;
            (answer.json()["result"]["content"][0]["text"] == login.as_str()).then_some(())
        })
        .await;
        assert_eq!(github.renewals_of(&login), 1, "{quirk:?}");
    });
    futures::future::join_all(trouble).await;
    // The provider says no: the user reads why, the sign-in ends, and a new one mends it.
    let (browser, login) = attack.visitor_of(github);
    github.set_quirk(&login, Some(Quirk::Brief));
    let (access, refresh) = client.tokens(&browser).await;
    runs_out(attack, &login).await;
    github.revoke(&login);
    let told = client.whoami(Some(&access)).await;
    assert!(told.text.contains(SENTENCE), "{} {}", told.status, told.text);
    let refused = client.refresh(&refresh).await;
    assert!(
        refused.is_error(400, "invalid_grant") && refused.get("error_description") == SENTENCE,
        "{}",
        refused.text
    );
    client.tokens(&browser).await;
    assert!(works(&client, &access, &login).await);
}

pub(crate) async fn r128_calls_go_on_while_the_provider_is_away(attack: &Attack) {
    attack.expect(&[502, 503]);
    let redis = Redis::start().await;
    let (gateway, github, backend) = hub(&attack.world.watch, &redis).await;
    let client = attack.client(&gateway).await;
    let (browser, _) = attack.visitor_of(&github);
    let (access, refresh) = client.tokens(&browser).await;
    // Somebody who is at the provider, and comes back when it is away.
    let (late, late_login) = attack.visitor_of(&github);
    let page = consent(&client, &late).await;
    let at_provider = late.next(&page).await.expect("the approval link");
    let callback =
        attack.get(&format!("{}&login={late_login}", at_provider.url)).await.header("location").to_owned();
    github.set_outage(true);
    backend.set_fault(None);
    // For longer than anything lasts that a replica remembers.
    let end = redis.second().await + AWAY;
    loop {
        let now = redis.second().await;
        for replica in 0..2 {
            // Whose token it is the backend asks the provider, which is away for it, too.
            let answer = caller(&client, &access, replica).await;
            assert_eq!(answer.status, 200, "an access token needs no provider: {}", answer.text);
        }
        assert_eq!(gateway.ready().await, [true, true], "the gateway can do its work");
        if now >= end {
            break;
        }
        redis.until(now + 1).await;
    }
    let start = Instant::now();
    let told = late.open(&callback).await;
    assert!(told.status == 502 && code(&told).is_none(), "{} {}", told.status, told.url);
    assert!(start.elapsed() < Duration::from_secs(10), "a sign-in fails fast");
    assert!(told.link("attempt=").is_some() && told.link("cursor:").is_some(), "no way on:\n{}", told.body);
    let renewed = client.refresh(&refresh).await;
    assert_eq!(renewed.status, 200, "nor does a refresh before its check is due: {}", renewed.text);
    let (other, login) = attack.visitor_of(&github);
    let page = other.open(&client.authorize_url()).await;
    let away = other.follow(&page, &page.approve_link().expect("the page needs no provider")).await;
    assert_eq!(away.status, 503, "the provider itself");
    github.set_outage(false);
    assert!(!github.tokens_of(&login).is_empty() || client.sign_in(&other).await.parameter("code").is_some());
    // The one who came back in between tries again, and is not asked for more.
    let page = late.follow(&told, &told.link("attempt=").expect("another try")).await;
    let landed = late.next(&page).await.unwrap_or(page);
    assert!(code(&landed).is_some(), "{} {}", landed.status, landed.url);
    assert_eq!(gateway.ready().await, [true, true]);
    attack.inspect(&gateway, &redis).await;
}
