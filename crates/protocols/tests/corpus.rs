//! The seeds of the fuzz targets, and what fuzzing found, replayed.

use guard_protocols::{
    fuzz::{
        fuzz_body, fuzz_coded, fuzz_copy, fuzz_head, fuzz_json, fuzz_message, fuzz_row, fuzz_scram,
        fuzz_socket, fuzz_target,
    },
    postgres::fuzz_frames,
};
use guard_tests::replay;

#[test]
fn no_copy_stream_makes_a_masker_panic() {
    replay("copy", fuzz_copy);
}

#[test]
fn no_row_makes_a_masker_panic() {
    replay("row", fuzz_row);
}

#[test]
fn no_message_makes_the_filter_panic() {
    replay("message", fuzz_message);
}

#[test]
fn no_sasl_message_makes_either_side_panic() {
    replay("scram", fuzz_scram);
}

#[test]
fn no_frame_makes_the_codec_panic() {
    replay("frames", fuzz_frames);
}

#[test]
fn no_target_is_sent_as_another_than_was_matched() {
    replay("http_target", fuzz_target);
}

#[test]
fn no_head_changes_with_what_follows() {
    replay("http_head", fuzz_head);
}

#[test]
fn no_json_comes_out_with_a_masked_value() {
    replay("http_json", fuzz_json);
}

#[test]
fn no_body_is_certain_that_is_not_sound() {
    replay("http_body", fuzz_body);
}

#[test]
fn no_frame_of_a_websocket_goes_on_with_what_is_hidden() {
    replay("http_socket", fuzz_socket);
}

#[test]
fn no_coded_body_is_read_in_two_ways() {
    replay("http_coded", fuzz_coded);
}
