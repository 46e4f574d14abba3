//! Clients that sign in, claim the provider's answer twice at once, redeem their code twice at once, refresh twice at once,
//! and ask again when they are told 503; some end their sign-in.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use e2e::net::eventually;
use futures::StreamExt;
use gatehouse_gateway::{
    clock::SystemEntropy,
    keys::{Keys, Sealed},
    model::{AccessToken, FlowRequest, GrantId, RefreshToken, UserId},
    store::{
        Approval, CallbackClaim, CodeProof, Completion, NewTokens, Redemption, Replay, Result, Revocation,
        Rotated, Rotation, Store,
    },
};

use crate::lab::{
    CLIENT, GRACE, HOUR, IDENTITY, MINUTE, RESOURCE, completion, hash, new_access, proof, request, rules,
    sealed, tokens,
};

/// How many times each client refreshes.
const REFRESHES: u32 = 3;
/// One client of so many ends its sign-in.
const LEAVES: usize = 3;
/// How soon a client asks again.
const AGAIN: Duration = Duration::from_millis(50);

/// What happened.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) redeemed: AtomicUsize,
    pub(crate) refreshed: AtomicUsize,
    revoked: AtomicUsize,
    unavailable: AtomicUsize,
    unanswered: AtomicUsize,
    checked: AtomicUsize,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |counter: &AtomicUsize| counter.load(SeqCst);
        write!(
            f,
            "{} codes redeemed, {} refreshes, {} sign-ins revoked, {} times unavailable, {} codes spent without an answer, \
             {} sign-ins checked afterwards: none redeemed twice, no token lost, none that was revoked back",
            of(&self.redeemed),
            of(&self.refreshed),
            of(&self.revoked),
            of(&self.unavailable),
            of(&self.unanswered),
            of(&self.checked),
        )
    }
}

/// The clients of two replicas.
pub(crate) struct Clients {
    stores: [Arc<dyn Store>; 2],
    keys: Keys,
    pub(crate) tally: Tally,
    /// What is to be checked.
    finished: Mutex<Vec<Finished>>,
}

/// A client that has done all that it wanted.
struct Finished {
    proof: CodeProof,
    /// What it was answered last.
    access: AccessToken,
    refresh: RefreshToken,
    /// Whether its sign-in was ended, and that was answered.
    ended: bool,
}

impl Clients {
    pub(crate) fn new(stores: [Arc<dyn Store>; 2], keys: Keys) -> Self {
        Self { stores, keys, tally: Tally::default(), finished: Mutex::default() }
    }

    /// One client after the other.
    pub(crate) async fn work(self: Arc<Self>, user: u8, stop: Arc<AtomicBool>) {
        while !stop.load(SeqCst) {
            match self.sign_in(user).await {
                Ok(Some(done)) => self.use_code(&done).await,
                // A flow may be forgotten: nothing was granted yet.
                Ok(None) => {}
                Err(_) => self.pause().await,
            }
        }
    }

    async fn pause(&self) {
        self.tally.unavailable.fetch_add(1, SeqCst);
        tokio::time::sleep(AGAIN).await;
    }

    /// A sign-in whose code nobody redeems.
    pub(crate) async fn waiting_code(&self) -> Completion {
        eventually("a sign-in", async || self.sign_in(0).await.ok().flatten()).await
    }

    /// The pair that a redemption would bring.
    pub(crate) fn new_pair(&self, done: &Completion) -> NewTokens {
        let (access, refresh) = self.pair(done, 1);
        tokens(&access, &refresh)
    }

    async fn sign_in(&self, user: u8) -> Result<Option<Completion>> {
        let (store, request) = (&self.stores[0], request());
        store.create_flow(&request, 10 * MINUTE).await?;
        let approved = store.approve_flow(&request.id, &request.nonce, &request.cookie, 10 * MINUTE).await?;
        if !matches!(approved, Approval::Approved { .. }) {
            return Ok(None);
        }
        let claimed = self.claim(&request).await?;
        let mut done = completion(&request, user);
        // Each is somebody else: a user who has too many sign-ins loses the oldest.
        let one = UserId::from_bytes(*hash().as_bytes());
        (done.user.id, done.grant.user) = (one, one);
        if !claimed {
            return Ok(None);
        }
        let written = store.complete_flow(&done).await.map_err(|failed| failed.error)?;
        Ok(written.map(|_| done))
    }

    /// The provider's answer comes to both replicas at once: whether one of them has it. A claim whose answer was lost is
    /// nobody's, and the user tries again.
    async fn claim(&self, request: &FlowRequest) -> Result<bool> {
        let ask = async |i: usize| self.stores[i].claim_callback(&request.id, &request.cookie, 1).await;
        let (one, two) = tokio::join!(ask(0), ask(1));
        let claims = |answer: &Result<CallbackClaim>| matches!(answer, Ok(CallbackClaim::Claimed(..)));
        let won = usize::from(claims(&one)) + usize::from(claims(&two));
        assert!(won < 2, "a callback was claimed twice");
        if won == 0 {
            let (one, two) = (one?, two?);
            // A flow that was forgotten is known to neither.
            assert!((&one, &two) == (&CallbackClaim::Unknown, &CallbackClaim::Unknown), "{one:?} {two:?}");
        }
        Ok(won == 1)
    }

    /// Redeems at both replicas at once until there is an answer, then refreshes.
    async fn use_code(&self, done: &Completion) {
        let proof = proof(done);
        let mut pair = None;
        loop {
            let pairs = [0, 1].map(|_| self.pair(done, 1));
            let [one, two] = [0, 1].map(|i| (tokens(&pairs[i].0, &pairs[i].1), &self.stores[i]));
            let (one, two) =
                tokio::join!(one.1.redeem_code(&proof, &one.0), two.1.redeem_code(&proof, &two.0));
            let (mut answers, mut revoked) = (0, false);
            for (answer, won) in [one, two].into_iter().zip(pairs) {
                match answer {
                    Ok(Redemption::Redeemed { .. }) => {
                        assert!(pair.replace(won).is_none(), "a code was redeemed twice");
                        answers += 1;
                    }
                    Ok(answer) => {
                        // The slower of the two came more than two seconds later: a replay ends the grant.
                        revoked |= answer == Redemption::Replayed(Replay::Ended);
                        answers += 1;
                    }
                    Err(_) => self.pause().await,
                }
            }
            if revoked {
                pair = None;
            }
            if pair.is_some() || answers > 0 {
                break;
            }
        }
        let Some((mut access, mut refresh)) = pair else {
            // The claim holds although its answer was lost, or the code was forgotten: the client signs in again.
            self.tally.unanswered.fetch_add(1, SeqCst);
            return;
        };
        let ended = self.tally.redeemed.fetch_add(1, SeqCst).is_multiple_of(LEAVES);
        for generation in 2..2 + REFRESHES {
            (access, refresh) = self.refresh(done, &refresh, generation).await;
            self.tally.refreshed.fetch_add(1, SeqCst);
        }
        if ended {
            self.revoke(&proof.grant).await;
        }
        self.finished.lock().unwrap().push(Finished { proof, access, refresh, ended });
    }

    /// Ends the sign-in at both replicas at once until there is an answer.
    async fn revoke(&self, grant: &GrantId) {
        loop {
            let ask = |i: usize| self.stores[i].revoke_for_client(grant, CLIENT, None);
            let (one, two) = tokio::join!(ask(0), ask(1));
            let answers: Vec<Revocation> = [one, two].into_iter().flatten().collect();
            // Unknown: it was ended before, by the other or by a request whose answer was lost.
            let done = |answer| matches!(answer, &Revocation::Revoked(_) | &Revocation::Unknown);
            assert!(answers.iter().all(done), "a client may end its own sign-in: {answers:?}");
            if !answers.is_empty() {
                self.tally.revoked.fetch_add(1, SeqCst);
                return;
            }
            self.pause().await;
        }
    }

    /// Refreshes at both replicas at once until both answered: with the same pair.
    async fn refresh(
        &self,
        done: &Completion,
        presented: &RefreshToken,
        generation: u32,
    ) -> (AccessToken, RefreshToken) {
        let mut offered: Vec<(Sealed, (AccessToken, RefreshToken))> = Vec::new();
        loop {
            let rotations = [0, 1].map(|_| {
                let (pair, successor) = (self.pair(done, generation), sealed());
                let next = tokens(&pair.0, &pair.1);
                offered.push((successor.clone(), pair));
                rotation(presented, next, successor)
            });
            let (one, two) = tokio::join!(
                self.stores[0].rotate_refresh(&rotations[0]),
                self.stores[1].rotate_refresh(&rotations[1])
            );
            let mut live: Vec<Sealed> = Vec::new();
            for (answer, rotation) in [one, two].into_iter().zip(&rotations) {
                match answer {
                    Ok(Rotated::Rotated { .. }) => live.push(rotation.successor.clone()),
                    Ok(Rotated::Successor { sealed, .. }) => live.push(sealed),
                    Ok(other) => panic!("a refresh token that was answered is not taken: {other:?}"),
                    Err(_) => self.pause().await,
                }
            }
            if let [one, two] = live.as_slice() {
                assert!(one.as_bytes() == two.as_bytes(), "two lineages");
                let place = offered.iter().position(|(sealed, _)| sealed.as_bytes() == one.as_bytes());
                return offered.swap_remove(place.expect("one of ours")).1;
            }
        }
    }

    fn pair(&self, done: &Completion, generation: u32) -> (AccessToken, RefreshToken) {
        (new_access(), RefreshToken::mint(&self.keys, &SystemEntropy, done.grant.id, generation))
    }

    /// Of everybody who has finished: the answered tokens are known, or, where the sign-in was ended, good for nothing; and
    /// the code is not redeemed once more.
    pub(crate) async fn check(&self) {
        let finished = std::mem::take(&mut *self.finished.lock().unwrap());
        // Many at once: one by one, more would have finished meanwhile than were looked at.
        futures::stream::iter(finished).for_each_concurrent(16, |one| self.look(one)).await;
    }

    async fn look(&self, Finished { proof, access, refresh, ended }: Finished) {
        let known = self.asked(async |store| store.call(&access.hash()).await).await;
        assert_eq!(known.is_none(), ended, "a token was answered and is not known, or its end is forgotten");
        let mint = |generation| {
            let refresh = RefreshToken::mint(&self.keys, &SystemEntropy, proof.grant, generation);
            tokens(&new_access(), &refresh)
        };
        if ended {
            let rotation = rotation(&refresh, mint(refresh.generation + 1), sealed());
            let renewed = self
                .asked(async |store| store.rotate_refresh(&rotation).await.map_err(|failed| failed.error))
                .await;
            assert_eq!(renewed, Rotated::Refused, "a sign-in that was ended goes on");
        }
        let pair = mint(1);
        let again = self
            .asked(async |store| store.redeem_code(&proof, &pair).await.map_err(|failed| failed.error))
            .await;
        assert!(!matches!(again, Redemption::Redeemed { .. }), "a code was redeemed twice");
        self.tally.checked.fetch_add(1, SeqCst);
    }

    /// An answer of the second replica, whenever it comes.
    async fn asked<T>(&self, ask: impl AsyncFn(&dyn Store) -> Result<T>) -> T {
        eventually("an answer of the second replica", async || {
            let answer = ask(self.stores[1].as_ref()).await;
            if answer.is_err() {
                self.pause().await;
            }
            answer.ok()
        })
        .await
    }
}

fn rotation(presented: &RefreshToken, next: NewTokens, successor: Sealed) -> Rotation {
    Rotation {
        presented: presented.hash(),
        grant: presented.grant,
        generation: presented.generation,
        client_id: CLIENT.to_owned(),
        identity: IDENTITY.to_owned(),
        resource: Some(RESOURCE.to_owned()),
        assertion: None,
        next,
        successor,
        grace: GRACE,
        recheck_every: Some(6 * HOUR),
        heard: String::new(),
        rules: rules(),
        judged: None,
    }
}
