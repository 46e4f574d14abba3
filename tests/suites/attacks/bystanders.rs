//! Whoever is not attacked: a sign-in that was begun before comes to its end after, and what others do meanwhile works.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use e2e::{
    browser::{Browser, Page},
    dev::Gateway,
    oauth::OAuthClient,
};
use tokio::task::JoinSet;

use crate::world::{Attack, World, code, consent, works};

/// Two sign-ins that are under way: at tenant A approved and at the provider, at tenant B before the form.
pub(crate) struct Bystander {
    attack: Attack,
    at: [(OAuthClient, Browser, Page); 2],
}

impl Bystander {
    pub(crate) async fn begin(world: &Arc<World>) -> Self {
        let attack = Attack::new(world.clone());
        let (client, browser) = (attack.client(attack.a()).await, attack.visitor());
        let page = consent(&client, &browser).await;
        let at_a = (client, browser.next(&page).await.expect("the approval link"), browser);
        let (client, browser) = (attack.client(attack.b()).await, attack.local().0);
        let form = browser.open(&client.authorize_url()).await;
        let at = [(at_a.0, at_a.2, at_a.1), (client, browser, form)];
        Self { attack, at }
    }

    pub(crate) async fn finish(self) {
        for (client, browser, mut page) in self.at {
            while let Some(next) = browser.next(&page).await {
                page = next;
            }
            let code =
                code(&page).unwrap_or_else(|| panic!("no code: {} {}\n{}", page.status, page.url, page.body));
            let tokens = client.redeem(&code).await;
            assert_eq!(tokens.status, 200, "a bystander's code: {}", tokens.text);
            let access = tokens.get("access_token");
            assert!(works(&client, &access, browser.user()).await, "a bystander's token does not work");
        }
        self.attack.was_answered_well();
    }
}

/// Four other users who sign in, call and refresh until they are told to stop.
pub(crate) struct Background {
    stop: Arc<AtomicBool>,
    users: JoinSet<()>,
}

impl Background {
    pub(crate) fn start(attack: &Attack, gateway: fn(&Attack) -> &Gateway) -> Self {
        let (stop, mut users) = (Arc::<AtomicBool>::default(), JoinSet::new());
        for _ in 0..4 {
            let (attack, stop) = (attack.elsewhere(), stop.clone());
            users.spawn(async move {
                let client = attack.client(gateway(&attack)).await;
                let browser = attack.user_of(gateway(&attack));
                loop {
                    let (access, refresh) = client.tokens(&browser).await;
                    assert!(works(&client, &access, browser.user()).await, "a bystander's call fails");
                    let renewed = client.refresh(&refresh).await;
                    assert_eq!(renewed.status, 200, "a bystander's refresh: {}", renewed.text);
                    assert!(works(&client, &renewed.get("access_token"), browser.user()).await);
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                }
                attack.was_answered_well();
            });
        }
        Self { stop, users }
    }

    /// Each of them ends the round that it is in, which must be a good one.
    pub(crate) async fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.users.join_next().await {
            ended.expect("what others do meanwhile works");
        }
    }
}
