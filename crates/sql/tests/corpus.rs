//! The seeds of the fuzz targets, and what fuzzing found, replayed.

use guard_sql::fuzz_analyze;
use guard_tests::replay;

#[test]
fn no_text_makes_the_analysis_panic() {
    replay("analyze", fuzz_analyze);
}
