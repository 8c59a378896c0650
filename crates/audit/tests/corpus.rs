//! The seeds of the fuzz targets, and what fuzzing found, replayed.

use guard_audit::fuzz_verify;
use guard_tests::replay;

#[test]
fn no_record_makes_verification_panic() {
    replay("verify", fuzz_verify);
}
