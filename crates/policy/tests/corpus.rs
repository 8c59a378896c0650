//! The seeds of the fuzz targets, and what fuzzing found, replayed.

use guard_policy::{fuzz_policy, fuzz_trust};
use guard_tests::replay;

#[test]
fn no_policy_makes_the_parser_panic() {
    replay("policy", fuzz_policy);
}

#[test]
fn no_trust_rule_makes_the_parser_panic_or_lets_nobody_in() {
    replay("trust", fuzz_trust);
}
