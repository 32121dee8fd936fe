//! The contract of every event store, run over every variant: the unique keys, batches in which each write has its own outcome,
//! the outbox, scans during writes, and durability when a process is killed.
//!
//! A scenario gets [`Stores`], which opens any number of independent handles on one store, as several processes would. A further
//! variant needs one line in this file, and its [`Stores`].

// All of this is a test program, but clippy recognizes only functions with `#[test]` as tests.
#![allow(clippy::unwrap_used)]

mod appends;
mod build;
mod commands;
#[cfg(feature = "postgres")]
#[path = "../../../read-store/tests/database/mod.rs"]
mod database;
mod exports;
mod loads;
#[cfg(feature = "mongodb")]
mod mongodb_server;
mod namespaces;
mod outbox;
#[cfg(feature = "postgres")]
mod postgres_server;
mod processes;
#[cfg(any(feature = "mongodb", feature = "postgres"))]
mod proxy;
mod reminders;
mod scans;
mod snapshots;
#[cfg(feature = "embedded")]
mod sqlite_file;
mod stores;

/// Runs every scenario over a variant, in a module of the given name.
macro_rules! contract {
    ($variant:ident, $stores:ty: $($group:ident { $($scenario:ident),* $(,)? })*) => {
        mod $variant {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $scenario() {
                    let Some(stores) = <$stores as $crate::stores::Stores>::fresh().await else { return };
                    $crate::$group::$scenario(&stores).await;
                }
            )*)*
        }
    };
}

/// The scenarios, by subject.
macro_rules! every_scenario {
    ($variant:ident, $stores:ty) => {
        contract! { $variant, $stores:
            appends {
                a_commit_is_loaded_as_it_was_appended,
                of_many_who_append_at_once_one_wins_each_version,
                a_version_is_taken_once,
                a_version_in_the_middle_of_a_commit_is_taken,
                commits_of_several_events_never_overlap,
                a_commit_that_leaves_a_version_out_is_not_stored,
                a_commit_without_events_is_not_stored,
                of_a_batch_in_which_some_conflict_the_others_are_stored,
                commits_that_follow_one_another_are_appended_as_one_write,
                of_commits_appended_as_one_write_none_is_stored_behind_a_conflict,
            }
            commands {
                a_repeated_command_conflicts_and_its_answer_is_found,
                a_command_id_is_free_in_another_stream,
                a_command_without_events_is_remembered,
                a_command_id_is_unique_among_commits_and_small_records_together,
                of_many_with_one_command_id_one_is_written,
                small_records_are_forgotten_when_they_are_old,
                small_records_of_the_system_are_never_forgotten,
                a_rejection_is_remembered_with_its_reason,
            }
            loads {
                a_stream_that_does_not_exist_is_empty,
                streams_come_as_they_were_asked,
                a_stream_is_current_at_its_last_version,
                a_long_stream_is_loaded_whole_and_from_any_commit_on,
                a_load_with_a_limit_has_what_begins_within_it,
                one_load_answers_many_callers,
                a_gap_in_a_stream_is_unreadable,
                an_event_that_this_program_does_not_know_is_loaded_as_it_is,
                an_event_that_this_program_does_not_know_is_unreadable,
                a_stream_that_cant_be_read_fails_no_other,
                events_written_by_a_former_program_are_read,
            }
            outbox {
                a_commit_is_unpublished_until_it_is_marked,
                marks_may_be_repeated_and_may_miss,
                what_a_crash_left_unmarked_is_outstanding,
                the_oldest_of_each_stream_is_outstanding,
                what_is_too_young_is_not_outstanding,
                what_is_dated_in_the_future_is_outstanding,
                no_more_streams_are_outstanding_than_asked_for,
                relays_see_outstanding_streams_shuffled,
                the_backlog_is_what_is_not_marked,
            }
            reminders {
                a_reminder_is_set_with_its_mark_and_due_after_its_delay,
                the_mark_of_the_next_commit_ends_a_reminder,
                of_many_who_claim_a_reminder_one_gets_it,
                a_reminder_that_was_sent_comes_again_later_until_it_is_exhausted,
                what_a_receiver_sets_aside_is_due_before_its_delay_and_says_why,
                what_a_receiver_has_set_aside_before_the_mark_stays_as_it_is,
                what_a_clock_that_was_ahead_has_set_is_due,
                a_commit_that_is_marked_again_keeps_waiting,
            }
            scans {
                an_empty_store_has_an_empty_page,
                a_scan_sees_every_commit_once_whatever_the_page,
                a_scan_sees_what_was_there_before_while_others_write,
                a_scan_goes_on_in_another_process,
                heads_tell_how_far_each_stream_is_whatever_the_page,
                a_position_of_another_store_is_refused,
                a_scan_names_what_it_cant_read_and_goes_on_whatever_the_page,
            }
            namespaces {
                namespaces_side_by_side_never_see_each_other,
                namespaces_that_are_written_at_once_wait_for_each_other,
            }
            exports {
                an_empty_store_has_nothing_to_export,
                every_commit_is_exported_as_it_was_appended_whatever_the_page,
                every_small_record_is_exported_whatever_the_page,
                reminders_are_exported_and_imported_as_they_are,
                an_export_names_what_it_cant_read_and_goes_on,
            }
            snapshots {
                a_long_stream_is_folded_from_its_last_snapshot,
                a_short_stream_has_no_snapshot,
                snapshots_are_kept_and_the_nearest_one_below_a_version_is_read,
                a_snapshot_that_is_damaged_does_not_count,
                a_snapshot_of_another_revision_does_not_count,
                a_snapshot_without_the_commit_that_it_ends_with_does_not_count,
                what_is_unpublished_is_in_no_snapshot,
            }
            processes {
                what_was_answered_is_there_after_kill_9,
                processes_see_and_respect_what_others_wrote,
            }
        }
    };
}

#[cfg(feature = "embedded")]
every_scenario!(sqlite, crate::stores::Sqlite);

#[cfg(feature = "mongodb")]
every_scenario!(mongodb, crate::stores::MongoDb);

#[cfg(feature = "postgres")]
every_scenario!(postgres, crate::stores::Postgres);
