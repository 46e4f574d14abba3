//! Which rows there are.

use std::sync::Arc;

use libtest_mimic::Trial;
use tokio::{
    runtime::Handle,
    sync::{RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use crate::{
    account, assertions, authorization,
    bystanders::Bystander,
    callback, consent, crowd, discovery, documents, ends, https, line_feeds, listed, load, outage, proxy,
    refresh, registration, resource, revoke, scopes, tokens, upstream,
    world::{Attack, World},
};

/// The row that measures differences of microseconds, which others on the same cores would hide or make.
const ALONE: &str = "r095_refusals_take_the_same_time";

/// Held by every row while it runs: for writing by [`ALONE`].
static TURN: RwLock<()> = RwLock::const_new(());

/// When it is released, whoever waits may run.
enum Turn {
    Alone { _held: RwLockWriteGuard<'static, ()> },
    Beside { _held: RwLockReadGuard<'static, ()> },
}

async fn turn(row: &str) -> Turn {
    if row == ALONE {
        Turn::Alone { _held: TURN.write().await }
    } else {
        Turn::Beside { _held: TURN.read().await }
    }
}

/// `module: row, …;` becomes one trial a row.
macro_rules! rows {
    ($runtime:expr, $world:expr, { $($module:ident: $($row:ident),+;)+ }) => {
        vec![$($({
            let (runtime, world) = ($runtime.clone(), $world.clone());
            Trial::test(stringify!($row), move || {
                runtime.block_on(async {
                    let _turn = turn(stringify!($row)).await;
                    let attack = Attack::new(world.clone());
                    let bystander = Bystander::begin(&world).await;
                    // In an unoptimised build a row's future is too large for the thread's stack.
                    Box::pin($module::$row(&attack)).await;
                    attack.finish().await;
                    bystander.finish().await;
                });
                Ok(())
            })
        }),+),+]
    };
}

/// Every row, as a trial.
pub(crate) fn all(runtime: &Handle, world: &Arc<World>) -> Vec<Trial> {
    let rows = [before_sign_in, sign_in, after_sign_in].iter().flat_map(|rows| rows(runtime, world));
    let rows: Vec<Trial> = rows.collect();
    assert!(rows.iter().any(|row| row.name() == ALONE), "no row is called {ALONE}");
    rows
}

fn before_sign_in(runtime: &Handle, world: &Arc<World>) -> Vec<Trial> {
    rows!(runtime, world, {
        discovery:
            r001_metadata_is_exact_and_every_endpoint_answers,
            r002_a_forged_host_is_never_repeated,
            r003_a_forged_scheme_changes_no_url,
            r004_other_documents_are_the_same_or_a_plain_404,
            r005_the_resource_document_is_exact,
            r006_odd_paths_are_refused_and_not_reflected,
            r007_cors_never_comes_with_credentials,
            r008_without_a_token_the_challenge_names_no_error,
            r009_a_bad_token_is_refused_without_being_repeated,
            r097_nothing_tells_of_a_token;
        https:
            r002_r003_https_no_header_changes_a_url,
            r007_r110_https_pages_of_other_origins,
            r055_https_cookies_are_bound_to_their_host,
            r115_ids_that_are_no_documents_address;
        documents:
            r116_ids_that_lead_inside,
            r118_documents_that_redirect,
            r119_documents_that_are_none,
            r121_a_thousand_documents_of_one_host,
            r121_one_document_a_thousand_times;
        registration:
            r010_bodies_that_are_no_registration,
            r011_other_content_types,
            r012_schemes_that_run_code,
            r013_redirect_uris_that_are_none,
            r015_names_that_pretend,
            r016_links_that_nobody_should_follow,
            r017_nothing_is_fetched_at_registration,
            r018_a_client_chooses_neither_its_id_nor_its_rights,
            r019_a_flood_from_one_address_is_limited_whatever_it_pretends,
            r020_registrations_cost_nothing,
            r021_a_client_survives_the_loss_of_its_record,
            r023_a_registration_is_answered_in_full,
            r024_a_client_of_one_tenant_is_unknown_to_the_other;
        authorization:
            r025_an_unknown_client_gets_a_page,
            r027_only_the_port_of_loopback_is_free,
            r028_a_redirect_uri_may_be_left_out_when_there_is_one,
            r029_r030_r031_pkce_is_s256_and_well_formed,
            r032_only_codes_in_queries,
            r034_state_comes_back_byte_for_byte,
            r035_every_answer_names_its_issuer,
            r036_scopes_are_known_and_bounded,
            r037_the_resource_is_this_server,
            r038_request_objects_are_not_fetched,
            r039_no_prompt_skips_consent,
            r040_other_methods_and_long_queries,
            r041_redirects_after_a_post_are_303;
    })
}

fn sign_in(runtime: &Handle, world: &Arc<World>) -> Vec<Trial> {
    rows!(runtime, world, {
        consent:
            r042_the_page_is_guarded,
            r043_the_page_says_what_will_happen,
            r044_a_nonce_that_is_not_the_flows,
            r045_one_nonce_takes_effect_once,
            r045_one_nonce_takes_effect_once_in_step,
            r046_a_nonce_opens_nothing_in_another_browser,
            r047_the_stored_request_wins,
            r049_another_site_cannot_approve,
            r050_a_page_shown_twice_works_from_either,
            r052_refusing_is_told_and_final,
            r053_consent_is_never_silent,
            r055_cookies_are_guarded,
            r056_two_hundred_open_requests_in_one_browser;
        callback:
            r058_states_that_are_not_ours,
            r059_a_callback_in_another_browser,
            r060_an_approval_that_is_finished_in_another_browser,
            r062_an_answer_of_another_issuer,
            r063_a_state_of_the_other_tenant,
            r065_the_providers_words_are_not_repeated,
            r066_id_tokens_that_are_not_good,
            r067_a_token_endpoint_that_misbehaves,
            r068_a_renewed_consent_without_a_refresh_token;
        tokens:
            r009_a_key_that_nobody_has_is_no_outage,
            r069_the_answer_is_complete_and_holds_nothing_more,
            r070_a_code_is_good_once_and_its_replay_ends_the_sign_in,
            r074_the_redirect_uri_is_the_one_of_the_request,
            r075_r076_the_verifier_is_proven,
            r078_an_old_code_is_refused,
            r080_only_forms_are_read,
            r082_other_grant_types,
            r083_a_client_authenticates_in_one_way,
            r083_assertions_of_clients_that_have_none,
            r084_codes_and_tokens_stay_with_their_tenant,
            r095_refusals_take_the_same_time,
            r095_a_sign_in_form_does_not_tell_who_exists;
        assertions:
            r122_assertions_that_prove_nothing,
            r122_keys_that_lead_inside;
        listed:
            r082_r083_either_secret_proves_a_listed_client,
            r082_r083_a_robot_acts_for_itself_alone;
        refresh:
            r086_reuse_ends_the_family,
            r087_a_lost_answer_is_given_again,
            r089_a_refresh_token_is_its_clients_own;
        load:
            r071_one_code_a_hundred_times_at_once,
            r071_one_code_among_wrong_redemptions,
            r088_one_refresh_token_fifty_times_at_once,
            r093_an_expired_upstream_token_is_renewed_once;
    })
}

fn after_sign_in(runtime: &Handle, world: &Arc<World>) -> Vec<Trial> {
    rows!(runtime, world, {
        upstream:
            r092_a_provider_that_refuses_or_is_busy,
            r128_calls_go_on_while_the_provider_is_away;
        revoke:
            revoke_ends_nothing_of_others,
            revoke_ends_a_sign_in_on_every_replica,
            revoke_reaches_a_replica_that_is_cut_off,
            revoke_leaves_nothing_of_a_race_with_refreshes,
            revoke_reads_posted_forms_alone;
        account:
            account_forms_are_the_users_own,
            account_forms_come_by_post_alone,
            account_sessions_stay_with_their_tenant_and_browser,
            account_sign_ins_are_bound_to_their_browser;
        outage:
            r072_a_replica_dies_between_taking_a_code_and_answering,
            r094_redis_stops_at_every_step,
            r094_redis_dies_at_every_step,
            r094_redis_stops_while_a_user_acts,
            r126_every_step_on_a_replica_that_has_just_started;
        crowd:
            r094_redis_stops_at_load;
        resource:
            r098_tokens_in_queries_and_forms,
            r100_a_token_is_good_at_its_own_resource,
            r101_only_the_users_own_credential_travels,
            r102_headers_that_claim_an_identity,
            r107_a_stolen_session_is_nobodys,
            r109_headers_that_say_other_than_the_body,
            r110_pages_of_other_origins,
            r111_a_stream_ends_with_its_sign_in,
            r111_whatever_ends_a_sign_in_ends_what_it_has_open,
            r111_a_closed_tenant_ends_what_is_open,
            r114_nothing_secret_is_kept_in_clear;
        ends:
            r111_every_end_is_seen_elsewhere_within_a_second;
        scopes:
            r018_the_scope_of_a_registration_narrows_nothing,
            r053_more_than_was_approved_is_asked_for,
            r113_a_tool_that_takes_more_than_the_token_has;
        proxy:
            r022_bodies_that_are_too_large,
            r022_a_flood_of_bodies_takes_no_memory,
            r022_requests_that_never_end,
            r104_requests_that_two_parsers_would_read_differently;
        line_feeds:
            r104_a_bare_line_feed_hides_no_request;
    })
}
