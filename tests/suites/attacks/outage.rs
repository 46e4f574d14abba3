//! 72, 94 and 126: Redis or a replica goes away in the middle.

use e2e::{
    browser::{Browser, Page},
    dev::Gateway,
    github::GitHub,
    net::eventually,
    oauth::{Answer, OAuthClient},
    redis::Redis,
    wire::Wire,
};

use crate::world::{Attack, code, consent, dies, hub, hub_at, local, works};

pub(crate) async fn r072_a_replica_dies_between_taking_a_code_and_answering(attack: &Attack) {
    // On a slow machine it has given Redis up before it dies, and says so: that is another row.
    attack.expect(&[503]);
    for _ in 0..5 {
        if Box::pin(dies_before_it_answers(attack)).await {
            return;
        }
    }
    panic!("the replica answers before it dies, time and again");
}

/// Whether it died before it answered: all of r072 where it did.
async fn dies_before_it_answers(attack: &Attack) -> bool {
    let redis = Redis::start().await;
    let wire = Wire::to(&redis.address()).await;
    let url = format!("redis://{}", wire.address);
    let (mut gateway, github, _backend) = hub_at(&attack.world.watch, &url).await;
    let client = attack.client(&gateway).await;
    let (browser, _) = attack.visitor_of(&github);
    // Replica 0 alone, which has redeemed before: its connections are there when the answers are held.
    let (doomed, other) = (gateway.addresses[0].clone(), gateway.addresses[1].clone());
    gateway.balancer.as_ref().expect("there is one").use_only(vec![doomed]);
    client.tokens(&browser).await;
    let code = client.code(&browser).await;
    let kinds = async |part: &str| redis.keys().await.into_iter().filter(|k| k.contains(part)).count();
    assert_eq!(kinds(":oauth:code:").await, 1);
    wire.hold();
    let (lost, ()) = tokio::join!(client.redeem(&code), async {
        eventually("the code to be taken", async || (kinds(":oauth:code:").await == 0).then_some(())).await;
        assert_eq!(kinds(":oauth:access:").await, 2, "the tokens are written in the same step");
        gateway.replicas[0].kill().await;
    });
    if lost.status == 503 {
        return false;
    }
    assert_eq!(lost.status, 502, "the balancer lost its replica: {}", lost.text);
    wire.release();
    gateway.balancer.as_ref().expect("there is one").use_only(vec![other]);
    let again = client.redeem(&code).await;
    assert!(again.is_error(400, "invalid_grant"), "{} {}", again.status, again.text);
    // The tokens that nobody received end with the client's next try, and cannot be used until then by anybody.
    eventually("the orphans to go", async || {
        assert!(client.redeem(&code).await.is_error(400, "invalid_grant"));
        (kinds(":oauth:access:").await == 1 && kinds(":oauth:refresh:").await == 1).then_some(())
    })
    .await;
    let (access, _) = client.tokens(&browser).await;
    assert!(works(&client, &access, browser.user()).await);
    attack.inspect(&gateway, &redis).await;
    true
}

/// A tenant of its own, whose Redis goes away.
struct Fragile {
    redis: Redis,
    gateway: Gateway,
    github: GitHub,
    _backend: e2e::backend::Backend,
}

/// How Redis goes away and comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outage {
    /// It hangs: connections stay, nothing is answered, and what was asked is done later.
    Pause,
    /// It dies, and starts again with nothing.
    Death,
}

impl Fragile {
    async fn start(attack: &Attack) -> Self {
        let redis = Redis::start().await;
        let (gateway, github, backend) = hub(&attack.world.watch, &redis).await;
        Self { redis, gateway, github, _backend: backend }
    }

    async fn goes(&mut self, outage: Outage) {
        match outage {
            Outage::Pause => self.redis.pause().await,
            Outage::Death => self.redis.kill().await,
        }
    }

    /// It comes back, and a whole sign-in works again, without anybody's help.
    async fn comes(&mut self, outage: Outage, attack: &Attack, client: &OAuthClient) {
        match outage {
            Outage::Pause => self.redis.resume().await,
            Outage::Death => self.redis.restart().await,
        }
        let (browser, _) = attack.visitor_of(&self.github);
        eventually("the gateway to recover", async || {
            let page = client.sign_in(&browser).await;
            let answer = client.redeem(&code(&page)?).await;
            (answer.status == 200 && works(client, &answer.get("access_token"), browser.user()).await)
                .then_some(())
        })
        .await;
    }

    /// How many tokens and codes there are.
    async fn minted(&self) -> usize {
        let parts = [":oauth:code:", ":oauth:access:", ":oauth:refresh:"];
        self.redis.keys().await.iter().filter(|k| parts.iter().any(|part| k.contains(part))).count()
    }
}

fn is_away(page: &Page) {
    assert_eq!(page.status, 503, "{}\n{}", page.url, page.body);
    assert!(page.headers.contains("retry-after: "), "{}", page.headers);
    assert!(code(page).is_none());
}

pub(crate) fn is_unavailable(answer: &Answer) {
    assert_eq!(answer.status, 503, "{}", answer.text);
    assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|s| s >= 1), "{:?}", answer.headers);
    let error = answer.json()["error"].clone();
    assert!(error == "temporarily_unavailable" || error["code"] == -32053, "{}", answer.text);
    assert!(!answer.text.contains("access_token\""));
}

pub(crate) async fn r094_redis_stops_at_every_step(attack: &Attack) {
    redis_is_away_at_every_step(attack, Outage::Pause).await;
}

pub(crate) async fn r094_redis_dies_at_every_step(attack: &Attack) {
    redis_is_away_at_every_step(attack, Outage::Death).await;
}

async fn redis_is_away_at_every_step(attack: &Attack, outage: Outage) {
    attack.expect(&[503]);
    let mut fragile = Fragile::start(attack).await;
    let client = attack.client(&fragile.gateway).await;
    for step in 0..6 {
        let (browser, login) = attack.visitor_of(&fragile.github);
        let before = Before::reach(step, &client, &browser).await;
        let minted = fragile.minted().await;
        fragile.goes(outage).await;
        // Registering needs no Redis.
        attack.client(&fragile.gateway).await;
        before.tries(&client, &browser).await;
        if outage == Outage::Pause && step == 2 {
            assert!(fragile.github.tokens_of(&login).is_empty(), "the provider's code was used for nothing");
        }
        match outage {
            Outage::Pause => fragile.redis.resume().await,
            Outage::Death => fragile.redis.restart().await,
        }
        // What a hanging Redis was asked it does when it goes on; it must not add up to more than one step.
        if outage == Outage::Pause {
            let after = fragile.minted().await;
            assert!(after <= minted + 2, "step {step}: {minted} codes and tokens became {after}");
        }
        fragile.comes(outage, attack, &client).await;
    }
    attack.inspect(&fragile.gateway, &fragile.redis).await;
}

/// A sign-in that has come so far.
enum Before {
    Authorize,
    Approve(Page),
    Callback(Page),
    Redeem(String),
    Refresh(String),
    Call(String),
}

impl Before {
    async fn reach(step: usize, client: &OAuthClient, browser: &Browser) -> Self {
        match step {
            0 => Self::Authorize,
            1 => Self::Approve(consent(client, browser).await),
            2 => {
                let page = consent(client, browser).await;
                Self::Callback(browser.next(&page).await.expect("the approval link"))
            }
            3 => Self::Redeem(client.code(browser).await),
            4 => Self::Refresh(client.tokens(browser).await.1),
            // Never used, so that no replica remembers it.
            _ => Self::Call(client.tokens(browser).await.0),
        }
    }

    async fn tries(&self, client: &OAuthClient, browser: &Browser) {
        match self {
            Self::Authorize => is_away(&browser.open(&client.authorize_url()).await),
            Self::Approve(page) | Self::Callback(page) => {
                is_away(&browser.next(page).await.expect("a way on"));
            }
            Self::Redeem(code) => is_unavailable(&client.redeem(code).await),
            Self::Refresh(token) => is_unavailable(&client.refresh(token).await),
            Self::Call(token) => is_unavailable(&client.whoami(Some(token)).await),
        }
    }
}

/// What a user does at a tenant that signs them in itself, when Redis hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    SignIn,
    Approve,
    Deny,
    Account,
    Disconnect,
    BeginAccount,
    Revoke,
}

pub(crate) async fn r094_redis_stops_while_a_user_acts(attack: &Attack) {
    attack.expect(&[503]);
    let redis = Redis::start().await;
    let (gateway, _backend) = local(&attack.world.watch, &redis, "team-d", None).await;
    let client = attack.client(&gateway).await;
    let tokens = async || {
        let parts = [":oauth:code:", ":oauth:access:", ":oauth:refresh:"];
        redis.keys().await.iter().filter(|k| parts.iter().any(|part| k.contains(part))).count()
    };
    for doing in [
        Doing::SignIn,
        Doing::Approve,
        Doing::Deny,
        Doing::Account,
        Doing::Disconnect,
        Doing::BeginAccount,
        Doing::Revoke,
    ] {
        let (browser, name) = attack.local();
        let (access, refresh) = client.tokens(&browser).await;
        let account = crate::account::open(&gateway, &browser).await;
        let page = browser.open(&client.authorize_url()).await;
        let fresh = attack.browser(&name);
        let form = fresh.open(&client.authorize_url()).await;
        let before = tokens().await;
        redis.pause().await;
        match doing {
            Doing::SignIn => is_away(&fresh.next(&form).await.expect("the sign-in form")),
            Doing::Approve => is_away(&browser.next(&page).await.expect("the approval link")),
            Doing::Deny => {
                is_away(&browser.follow(&page, &page.deny_link().expect("a link to refuse")).await);
            }
            Doing::Account => is_away(&browser.open(account.url.as_str()).await),
            Doing::Disconnect => is_away(&browser.press(&account, "disconnect").await),
            Doing::BeginAccount => is_away(&fresh.open(&format!("{}/account/signin", gateway.issuer)).await),
            Doing::Revoke => is_unavailable(&client.revoke(&refresh).await),
        }
        redis.resume().await;
        // It goes on alone; what was asked of Redis meanwhile is done at most once, and is what was asked.
        eventually("the gateway to recover", async || {
            let page = browser.open(account.url.as_str()).await;
            (page.status == 200).then_some(())
        })
        .await;
        let minted = tokens().await.saturating_sub(before);
        assert!(
            minted <= usize::from(doing == Doing::Approve),
            "{doing:?}: {minted} codes and tokens too many"
        );
        if matches!(doing, Doing::Disconnect | Doing::Revoke) {
            // It was told that this was not done; asking again does it.
            let ended = client.revoke(&refresh).await;
            assert_eq!(ended.status, 200, "{}", ended.text);
            dies(&client, &access).await;
        } else {
            assert!(works(&client, &access, &name).await, "{doing:?}");
        }
    }
    attack.inspect(&gateway, &redis).await;
}

pub(crate) async fn r126_every_step_on_a_replica_that_has_just_started(attack: &Attack) {
    let redis = Redis::start().await;
    let (mut gateway, github, _backend) = hub(&attack.world.watch, &redis).await;
    let client = attack.client(&gateway).await;
    let (browser, _) = attack.visitor_of(&github);
    gateway.kill(1).await;
    let page = consent(&client, &browser).await;
    swap(&mut gateway, 0, 1).await;
    let login = browser.next(&page).await.expect("the approval link");
    swap(&mut gateway, 1, 0).await;
    let landed = browser.next(&login).await.expect("the provider's form");
    swap(&mut gateway, 0, 1).await;
    let tokens = client.redeem(&code(&landed).expect("a code")).await;
    assert_eq!(tokens.status, 200, "{}", tokens.text);
    swap(&mut gateway, 1, 0).await;
    assert!(works(&client, &tokens.get("access_token"), browser.user()).await);
    let renewed = client.refresh(&tokens.get("refresh_token")).await;
    assert_eq!(renewed.status, 200, "{}", renewed.text);
    attack.inspect(&gateway, &redis).await;
}

/// Starts one replica, kills the other: what follows meets a process that has seen nothing.
async fn swap(gateway: &mut Gateway, dies: usize, lives: usize) {
    gateway.restart(lives).await;
    gateway.kill(dies).await;
}
