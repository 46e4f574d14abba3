//! A provider that tells groups in ID tokens, and whose user-info is silent about them.

use async_trait::async_trait;

use super::*;
use crate::identity::{IdentityError, RenewError, Renewed, SignedIn, UpstreamAnswer, UpstreamRequest};

#[derive(Debug)]
struct Silent;

#[async_trait]
impl Provider for Silent {
    async fn authorization_url(&self, _: UpstreamRequest<'_>) -> Result<url::Url, IdentityError> {
        panic!("nobody signs in")
    }

    async fn exchange(&self, _: UpstreamAnswer<'_>) -> Result<SignedIn, IdentityError> {
        panic!("nobody signs in")
    }

    async fn profile(&self, _: &UpstreamTokens, known: &Profile) -> Result<Profile, IdentityError> {
        Ok(known.clone())
    }

    async fn refresh(&self, tokens: &UpstreamTokens, known: &Profile) -> Result<Renewed, RenewError> {
        Ok(Renewed { tokens: tokens.clone(), profile: Some(Profile { groups: Vec::new(), ..known.clone() }) })
    }
}

#[tokio::test]
async fn groups_that_a_renewal_took_away_stay_away() {
    let world = World::new(60).await;
    let profile = Profile { subject: "4242".into(), groups: vec!["dev".into()], ..Profile::default() };
    let sealed = world.seal(&world.tokens(60));
    sign_in(&*world.store, &world.keys, &world.config, &profile, Some(&sealed)).await;
    let custody = world.custody_with(Arc::new(Silent));
    let groups = async || {
        let user = world.call().await.user;
        open_profile(&world.keys, &user.id, &user.profile).unwrap().groups
    };
    assert_eq!(groups().await, ["dev"]);
    world.clock.advance(Duration::from_secs(30));
    assert_eq!(custody.recheck(&world.call().await.user).await, Check::Live);
    assert!(groups().await.is_empty());
}
