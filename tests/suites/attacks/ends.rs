//! 111, and how soon: whatever ends a user's access ends it on a replica that was not told, within the second that is
//! promised.

use std::time::{Duration, Instant};

use e2e::{balancer::REPLICA, dev::Gateway, oauth::Answer, redis::Redis};
use gatehouse_gateway_config::AccessRule;

use crate::{
    account::{OWN, User},
    load::REPLICAS,
    resource::Open,
    revoke::remembers,
    world::{Attack, SEEN, SLACK, last_taken, local},
};

/// What is promised.
const PROMISED: Duration = Duration::from_secs(1);

/// What ends a user's access.
#[derive(Debug, Clone, Copy)]
enum End {
    /// Their client gives a token back, at replica 1.
    Revoked,
    /// They disconnect the client on their account page, at replica 1.
    Disconnected,
    /// They are denied, which no replica is told.
    Denied,
}

/// A tenant with a Redis that nobody else asks.
struct Stage<'a> {
    attack: &'a Attack,
    redis: Redis,
    gateway: Gateway,
    /// Who is denied so far.
    denied: Vec<String>,
}

impl Stage<'_> {
    async fn end(&mut self, end: End, user: &User) {
        match end {
            End::Revoked => {
                let form = [("token", user.access.as_str())];
                let answer = user.client.post("/oauth/revoke", &form, &[(REPLICA, REPLICAS[1])]).await;
                assert_eq!(answer.status, 200, "{}", answer.text);
            }
            End::Disconnected => {
                let headers = [OWN, (REPLICA, REPLICAS[1])];
                let answer = user.post(self.attack, &self.gateway, &user.form, &headers).await;
                assert_eq!((answer.status, answer.header("location")), (303, "/account?done=disconnected"));
            }
            End::Denied => {
                self.denied.push(format!("uid-of-{}", user.browser.user()));
                let rule = AccessRule { subjects: self.denied.clone(), ..AccessRule::default() };
                self.gateway.deny(&self.redis, "team-f.tools", vec![rule]).await;
            }
        }
    }

    /// How long replica 0 takes a token that it remembers after its end.
    async fn forgets(&mut self, end: End) -> Duration {
        let user = User::at(self.attack, &self.gateway).await;
        remembers(&self.redis, &user.client, &user.access).await;
        self.end(end, &user).await;
        let refuses = |answer: &Answer| match end {
            End::Denied => answer.status == 403 && !answer.text.contains("\"result\""),
            _ => answer.status == 401 && answer.challenge.contains("error=\"invalid_token\""),
        };
        last_taken(&user.client, &user.access, &[0], refuses).await
    }

    /// How long replica 0 leaves open what was open before the end: a stream that listens, and a call.
    async fn closes(&mut self, end: End) -> Duration {
        let user = User::at(self.attack, &self.gateway).await;
        let open = Open::at(self.attack, &user.client, &user.access, REPLICAS[0]).await;
        self.end(end, &user).await;
        let begun = Instant::now();
        let ended = tokio::time::timeout(SEEN + SLACK, open.end("ended")).await;
        ended.unwrap_or_else(|_| panic!("{end:?}: what is open ends"));
        begun.elapsed()
    }
}

pub(crate) async fn r111_every_end_is_seen_elsewhere_within_a_second(attack: &Attack) {
    let redis = Redis::start().await;
    let (gateway, _backend) = local(&attack.world.watch, &redis, "team-f", None).await;
    let mut stage = Stage { attack, redis, gateway, denied: Vec::new() };
    for end in [End::Revoked, End::Disconnected, End::Denied] {
        let (mut taken, mut open) = (Vec::new(), Vec::new());
        for _ in 0..5 {
            taken.push(stage.forgets(end).await);
        }
        for _ in 0..5 {
            open.push(stage.closes(end).await);
        }
        for (what, mut late) in [("a token was taken", taken), ("a stream was open", open)] {
            late.sort();
            // A busy machine may delay some of the five.
            let in_time = late[2] <= PROMISED + SLACK && late[4] <= SEEN + SLACK;
            assert!(in_time, "{end:?}: so long after its end {what}: {late:?}");
        }
    }
    attack.inspect(&stage.gateway, &stage.redis).await;
}
