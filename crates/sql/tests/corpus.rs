//! The seeds of the fuzz targets, and what fuzzing found, replayed.

use guard_sql::{fuzz_analyze, fuzz_lineage, fuzz_template};
use guard_tests::replay;

#[test]
fn no_text_makes_the_analysis_panic() {
    replay("analyze", fuzz_analyze);
}

#[test]
fn no_masked_column_comes_unseen() {
    replay("lineage", fuzz_lineage);
}

#[test]
fn no_template_says_another_thing_than_its_texts() {
    replay("template", fuzz_template);
}
