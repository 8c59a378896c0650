//! The seeds of the fuzz targets, and what fuzzing found, replayed.

use guard_policy::fuzz_policy;
use guard_tests::replay;

#[test]
fn no_policy_makes_the_parser_panic() {
    replay("policy", fuzz_policy);
}
