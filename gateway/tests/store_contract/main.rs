//! The contract of the `Store` trait, on memory and on a real Redis.
//!
//! A contract is an async function of a [`lab::Lab`], which hides the back end and lets time pass. Redis is a
//! `redis-server` of its own for each test; without one in PATH those tests say so and pass, but not where `CI` is set.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod account;
mod chaos;
mod credentials;
mod events;
mod family;
mod flow_property;
mod flows;
mod lab;
#[path = "../../../tests/src/ports.rs"]
#[expect(unreachable_pub, reason = "the end-to-end suites use it, too")]
mod ports;
mod property;
mod redis_faults;
#[path = "../../../tests/src/redis_fleet/mod.rs"]
#[expect(dead_code, unreachable_pub, reason = "the end-to-end suites use all of it")]
mod redis_fleet;
#[path = "../../../tests/src/redis_program.rs"]
#[expect(unreachable_pub, reason = "the end-to-end suites use it, too")]
mod redis_program;
mod redis_records;
mod redis_restarts;
mod redis_tls;
mod server;
mod tokens;
mod users;

use ports::free_port;

/// One test for each contract and back end.
macro_rules! contracts {
    ($($module:ident :: $name:ident)*) => {
        mod memory {
            $(#[tokio::test]
            async fn $name() {
                crate::$module::$name(&crate::lab::Lab::memory()).await;
            })*
        }
        /// All contracts on one fleet, one after the other: starting six processes for each would take minutes.
        async fn on_fleet(fleet: &crate::redis_fleet::RedisFleet) {
            $(eprintln!("{}", stringify!($module::$name));
            crate::$module::$name(&crate::lab::Lab::fleet(fleet).await).await;)*
        }
        mod redis {
            $(#[tokio::test]
            async fn $name() {
                if let Some(lab) = crate::lab::Lab::redis().await {
                    crate::$module::$name(&lab).await;
                }
            })*
        }
    };
}

contracts! {
    flows::a_sign_in_goes_from_pending_to_done
    flows::approval_needs_nonce_and_cookie
    flows::fifty_approvals_are_one
    flows::a_denied_flow_stays_denied
    flows::a_denial_takes_back_what_no_client_has
    flows::what_was_taken_back_is_not_remembered_as_approved
    flows::a_callback_is_claimed_once_for_each_attempt
    flows::a_flow_has_so_many_attempts
    flows::a_flow_ends
    flows::a_flow_that_is_tried_again_and_again_ends
    flows::a_local_user_is_pinned_and_must_be_the_one
    flows::a_session_ends
    flows::a_finished_flow_cannot_be_finished_again
    flows::a_finished_sign_in_may_open_a_session
    tokens::a_hundred_redemptions_give_one_pair
    tokens::a_code_is_for_its_own_client
    tokens::a_redirect_uri_may_be_left_out_where_it_was_before
    tokens::a_late_replay_ends_the_grant
    tokens::a_client_proves_itself_as_its_grant_asks
    tokens::an_assertion_is_spent_once
    tokens::a_code_ends
    tokens::a_code_is_redeemed_for_who_was_judged
    tokens::a_call_sees_all_it_needs
    tokens::lives_are_cut_to_the_end_of_the_sign_in
    tokens::a_refresh_beyond_the_sign_in_is_refused
    family::fifty_refreshes_are_one_rotation
    family::the_grace_does_not_slide
    family::without_grace_the_old_pair_is_dead_at_once
    family::redeeming_the_successor_ends_the_grace
    family::reuse_ends_the_family_whoever_presents_it
    family::reuse_ends_the_family
    family::a_refresh_is_for_its_own_client_identity_and_resource
    family::revocation_ends_every_token
    family::a_client_ends_its_own_grant_alone
    family::a_robot_has_an_access_token_alone
    family::a_robots_oldest_tokens_end_when_there_are_too_many
    family::a_revocation_wins_over_parallel_refreshes
    family::a_refresh_asks_for_a_check_when_it_is_due
    family::a_refresh_asks_each_time_when_no_check_is_young_enough
    family::a_refresh_brings_its_user
    family::who_was_not_judged_so_is_judged_first
    family::a_dead_user_keeps_the_family
    users::a_sign_in_mends_a_dead_user
    users::telling_never_undoes_a_sign_in
    users::a_refusal_of_an_older_credential_changes_nothing
    users::a_check_is_dated
    users::a_purged_user_leaves_nothing
    account::an_account_lists_what_was_redeemed_and_where_it_is_signed_in
    account::one_more_than_a_user_may_have_ends_the_one_used_longest_ago
    account::many_sessions_end_but_for_one
    account::the_newest_sessions_of_a_user_stay
    account::the_newest_consents_of_a_user_are_remembered
    account::a_user_revokes_only_their_own_grants
    account::a_user_ends_only_their_own_sessions
    account::a_provider_signs_in_once_for_each_claimed_attempt
    users::ended_sign_ins_leave_the_user_and_others
    credentials::one_lease_at_a_time
    credentials::a_result_is_stored_once_for_its_parent
    credentials::a_version_is_never_used_twice
    credentials::a_lease_can_be_given_back
    credentials::hits_are_counted_in_windows
    credentials::a_request_counts_in_all_windows_or_in_none
    events::every_change_is_seen
    events::a_denial_is_told_and_read
    events::a_step_that_does_not_know_the_last_denial_waits_and_tells_it
    events::a_waiting_reader_wakes
    events::trimmed_events_are_a_gap
    events::a_cursor_of_nobody_is_a_gap
}

/// One fleet after the other: with the processes of all at once a machine of few cores is too slow for the two seconds that
/// a command may take.
static FLEET: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test]
async fn the_contract_holds_by_sentinels() {
    if server::RedisServer::start().await.is_some() {
        let _alone = FLEET.lock().await;
        Box::pin(on_fleet(&redis_fleet::RedisFleet::sentinel(free_port).await)).await;
    }
}

#[tokio::test]
async fn the_contract_holds_in_a_cluster() {
    if server::RedisServer::start().await.is_some() {
        let _alone = FLEET.lock().await;
        Box::pin(on_fleet(&redis_fleet::RedisFleet::cluster(free_port).await)).await;
    }
}

/// The nodes' certificates name another host than the nodes announce.
#[tokio::test]
async fn the_contract_holds_by_sentinels_with_tls() {
    if server::RedisServer::start().await.is_some() {
        let _alone = FLEET.lock().await;
        let mut fleet = redis_fleet::RedisFleet::sentinel_tls(free_port, "redis.example").await;
        Box::pin(on_fleet(&fleet)).await;
        redis_tls::a_rotation_needs_no_restart(&mut fleet).await;
    }
}

#[tokio::test]
async fn the_contract_holds_in_a_cluster_with_tls() {
    if server::RedisServer::start().await.is_some() {
        let _alone = FLEET.lock().await;
        let mut fleet = redis_fleet::RedisFleet::cluster_tls(free_port, "127.0.0.1").await;
        Box::pin(on_fleet(&fleet)).await;
        redis_tls::a_rotation_needs_no_restart(&mut fleet).await;
    }
}
