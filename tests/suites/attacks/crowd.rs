//! 94 at load: Redis hangs while clients of every kind are at it, over both replicas.

use std::{collections::HashSet, sync::Arc};

use ::redis::AsyncCommands;
use e2e::{
    backend::{Backend, Callers},
    balancer::REPLICA,
    browser::Browser,
    dev::{Gateway, Setup},
    idp::signing::SigningKey,
    net::eventually,
    oauth::{Answer, OAuthClient, REDIRECT_URI},
    redis::Redis,
    web,
};
use futures::future::join_all;
use serde_json::json;

use crate::{
    assertions::signing,
    load::REPLICAS,
    outage::is_unavailable,
    world::{Attack, HOST, local_users, works},
};

/// How many sign-ins have tokens when Redis stops.
const SIGN_INS: usize = 30;
/// How many of those refresh three times at once, as programs with several windows do: 50 refreshes in all.
const EAGER: usize = 10;
/// How many sign-ins have a code.
const CODES: usize = 20;
/// How many of the codes are presented only when both replicas have given their connections up.
const LATE: usize = 5;
/// How many times the robot asks at once.
const ROBOTS: usize = 10;
/// Browsers that sign in side by side.
const BROWSERS: usize = 5;
/// The document of the client that signs.
const SIGNER: &str = "https://signed.test/crowd.json";
/// What the backend knows every caller by, and whom it takes them for.
const SHARED: &str = "credential-of-the-crowd";
const EVERYBODY: &str = "everybody";
const ROBOT_SECRET: &str = "a-secret-that-only-this-robot-knows";
const ROBOT_FORM: [(&str, &str); 1] = [("grant_type", "client_credentials")];

/// What tenants with users of their own have, and what this one has instead: a robot has no credential of its own.
const CHANGES: [(&str, &str); 3] = [
    ("everyone: {}", "allow: [{ emailDomains: [example.com] }, { subjects: [robot] }]"),
    ("fromIdentity: {}", "static: { secretRef: { name: crowd, key: token } }"),
    (
        "redirectUris:",
        "registration: { metadataDocuments: { allowedHosts: [signed.test] } }
  clients: [{ clientId: robot, grants: [client_credentials], secretRefs: [{ name: crowd, key: robot }] }]
  redirectUris:",
    ),
];

/// A client with what it holds: a code, or a pair.
struct Holder {
    client: OAuthClient,
    code: String,
    access: String,
    refresh: String,
}

/// A tenant of its own, and everybody at it.
struct Crowd {
    redis: Redis,
    gateway: Gateway,
    _backend: Backend,
    robot: OAuthClient,
    signed_in: Vec<Holder>,
    waiting: Vec<Holder>,
}

pub(crate) async fn r094_redis_stops_at_load(attack: &Attack) {
    attack.expect(&[503]);
    let crowd = Crowd::start(attack).await;
    assert_eq!(crowd.live().await.len(), SIGN_INS);
    crowd.redis.pause().await;
    // Who is told to come again comes again; by then nothing is sent any more.
    for codes in [&crowd.waiting[LATE..], &crowd.waiting] {
        for answer in crowd.asks(codes).await {
            is_unavailable(&answer);
        }
    }
    crowd.redis.resume().await;
    crowd.recovers().await;
    // What was asked of a hanging Redis is done when it goes on, and each of it is a step that is known.
    let found = crowd.live().await.len();
    assert!((SIGN_INS..=SIGN_INS + CODES - LATE).contains(&found), "{found} lineages");
    join_all(crowd.signed_in.iter().map(Holder::goes_on)).await;
    crowd.codes_are_good_once().await;
    attack.inspect(&crowd.gateway, &crowd.redis).await;
}

impl Crowd {
    async fn start(attack: &Attack) -> Self {
        let watch = &attack.world.watch;
        watch.keep_upstream(SHARED);
        let key = Arc::new(SigningKey::generate("k1").await);
        web::publish(SIGNER, signing("jwks", json!({ "keys": [key.public()] })));
        let redis = Redis::start().await;
        let backend = Backend::start(Callers::tokens(&[(SHARED, EVERYBODY)])).await;
        let (manifest, _) = local_users("team-e");
        let manifest = CHANGES.iter().fold(manifest, |text, (old, new)| text.replace(old, new));
        let secret = format!("stringData: {{ token: {SHARED}, robot: {ROBOT_SECRET} }}");
        let metadata = "metadata: { name: crowd, namespace: team-e }";
        let manifest = format!("{manifest}\n---\napiVersion: v1\nkind: Secret\n{metadata}\n{secret}\n");
        let setup = Setup::https(HOST, &manifest).with("backend", &backend.url());
        watch.tenant(&setup.issuer());
        watch.listed(&setup.issuer(), SIGNER, REDIRECT_URI);
        let gateway = setup.redis(&redis).watched(watch).replicas(2).start().await;

        let public = attack.client(&gateway).await;
        let mut signer = OAuthClient::named(attack.http.clone(), &gateway.issuer, SIGNER, REDIRECT_URI);
        signer.signs_with(key);
        let mut robot = public.clone();
        robot.registration = json!({
            "client_id": "robot", "client_secret": ROBOT_SECRET, "token_endpoint_auth_method": "client_secret_basic",
        });
        let browsers: Vec<Browser> = (0..BROWSERS).map(|_| attack.local().0).collect();
        let sign_ins = browsers.iter().map(async |browser| {
            let mut holders = Vec::new();
            for n in 0..(SIGN_INS + CODES) / BROWSERS {
                let client = if n % 3 == 0 { &signer } else { &public };
                let mut holder = Holder::of(client, client.code(browser).await);
                if n % 5 < 3 {
                    holder.redeem().await;
                }
                holders.push(holder);
            }
            holders
        });
        let holders = join_all(sign_ins).await.into_iter().flatten();
        let (signed_in, waiting): (Vec<_>, Vec<_>) = holders.partition(|holder| !holder.refresh.is_empty());
        assert_eq!((signed_in.len(), waiting.len()), (SIGN_INS, CODES));
        Self { redis, gateway, _backend: backend, robot, signed_in, waiting }
    }

    /// Everybody asks at once for what they want, those who have a code as far as they are named.
    async fn asks(&self, codes: &[Holder]) -> Vec<Answer> {
        let eager = self.signed_in.iter().take(EAGER).cycle().take(3 * EAGER);
        let refreshing = eager.chain(&self.signed_in[EAGER..]);
        let (refreshed, redeemed, minted, called) = tokio::join!(
            join_all(refreshing.map(|one| one.client.refresh(&one.refresh))),
            join_all(codes.iter().map(|one| one.client.redeem(&one.code))),
            join_all((0..ROBOTS).map(|_| self.robot.token(&ROBOT_FORM))),
            // Tokens that were never used, so that no replica remembers them.
            join_all(self.signed_in.iter().take(ROBOTS).map(|one| one.client.whoami(Some(&one.access)))),
        );
        [refreshed, redeemed, minted, called].concat()
    }

    /// Both replicas work again, without anybody's help.
    async fn recovers(&self) {
        eventually("both replicas to recover", async || {
            let ask = async |at| self.robot.post("/oauth/token", &ROBOT_FORM, &[(REPLICA, at)]).await;
            let answers = tokio::join!(ask(REPLICAS[0]), ask(REPLICAS[1]));
            (answers.0.status == 200 && answers.1.status == 200).then_some(())
        })
        .await;
    }

    /// The grants that have a refresh token which was not replaced: each has one, and every token that Redis knows is one
    /// that its grant knows.
    async fn live(&self) -> HashSet<String> {
        let (mut connection, mut live) = (self.redis.connection().await, HashSet::new());
        for kind in ["access", "refresh"] {
            for key in self.redis.all(kind).await {
                let (prefix, own) =
                    key.split_at(key.find("oauth:").expect("it is of the authorization server"));
                let fields = connection.hmget(&key, &["grant", "blob"]).await.expect("HMGET works");
                let (grant, blob): (String, Option<Vec<u8>>) = fields;
                let tokens = ["access", "replaced", "refresh", "blob"];
                let known = connection.hmget(format!("{prefix}{grant}"), &tokens).await.expect("HMGET works");
                let known: Vec<Option<String>> = known;
                assert!(known.iter().flatten().any(|token| token == own), "{grant} knows nothing of {key}");
                if kind == "refresh" && blob.is_none() {
                    assert!(live.insert(grant), "two lineages of one sign-in");
                }
            }
        }
        live
    }

    /// Every code was taken once: by who presents it now, or by who was told 503 before. That claim stays spent, and what
    /// nobody received ends with the client's next try.
    async fn codes_are_good_once(&self) {
        let redeemed = join_all(self.waiting.iter().map(|one| one.client.redeem(&one.code))).await;
        let mut lost = Vec::new();
        for (n, (holder, answer)) in self.waiting.iter().zip(redeemed).enumerate() {
            if answer.status == 200 {
                assert!(works(&holder.client, &answer.get("access_token"), EVERYBODY).await);
                continue;
            }
            assert!(n >= LATE, "a code that was never sent is lost: {}", answer.text);
            assert!(answer.is_error(400, "invalid_grant"), "{} {}", answer.status, answer.text);
            lost.push(holder);
        }
        assert_eq!(self.redis.count("spent").await, SIGN_INS + CODES, "a code that was not taken is lost");
        eventually("the orphans to go", async || {
            for holder in &lost {
                assert!(holder.client.redeem(&holder.code).await.is_error(400, "invalid_grant"));
            }
            (self.live().await.len() == SIGN_INS + CODES - lost.len()).then_some(())
        })
        .await;
    }
}

impl Holder {
    fn of(client: &OAuthClient, code: String) -> Self {
        Self { client: client.clone(), code, access: String::new(), refresh: String::new() }
    }

    async fn redeem(&mut self) {
        let answer = self.client.redeem(&self.code).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        (self.access, self.refresh) = (answer.get("access_token"), answer.get("refresh_token"));
    }

    /// The very token that was answered 503 goes on, at both replicas at once, to one successor, which goes on, too.
    async fn goes_on(&self) {
        let form = [("grant_type", "refresh_token"), ("refresh_token", self.refresh.as_str())];
        let ask = async |at| self.client.post("/oauth/token", &form, &[(REPLICA, at)]).await;
        let (one, two) = tokio::join!(ask(REPLICAS[0]), ask(REPLICAS[1]));
        for name in ["access_token", "refresh_token"] {
            assert!(one.status == 200 && one.get(name) == two.get(name), "{}\n{}", one.text, two.text);
        }
        assert!(works(&self.client, &one.get("access_token"), EVERYBODY).await);
        let next = self.client.refresh(&one.get("refresh_token")).await;
        assert_eq!(next.status, 200, "{}", next.text);
        assert!(works(&self.client, &next.get("access_token"), EVERYBODY).await);
    }
}
