//! What the server says of its tables and sequences.

use std::collections::{BTreeMap, BTreeSet};

/// Asks for it inside of a transaction: rows written by this server process, the files of relations, the sequences.
///
/// The server counts rows also for earlier transactions, so that only a difference says something.
/// A comment marks it in the record.
pub(crate) const PROBE: &str = "SELECT /*probe*/ '@state ' || string_agg(fact, ' ') FROM ( \
    SELECT 'rows:' || relname || ':' || n_tup_ins + n_tup_upd + n_tup_del AS fact FROM pg_stat_xact_user_tables WHERE n_tup_ins + n_tup_upd + n_tup_del > 0 \
    UNION ALL SELECT 'file:' || relname || ':' || oid || '/' || coalesce(pg_relation_filenode(oid), 0) FROM pg_class \
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'm') \
    UNION ALL SELECT 'sequence:numbers:' || last_value || is_called FROM numbers \
    UNION ALL SELECT 'sequence:child_id_seq:' || last_value || is_called FROM child_id_seq \
    UNION ALL SELECT 'sequence:made_id_seq:' || last_value || is_called FROM made_id_seq) AS facts;";

/// One answer: facts by their kind and the relation's name.
pub(crate) struct State(BTreeMap<(String, String), String>);

impl State {
    pub(crate) fn read(line: &str) -> Option<Self> {
        let facts = line.strip_prefix("@state ")?.split(' ').map(|fact| {
            let [kind, name, value] = fact.split(':').collect::<Vec<_>>()[..] else {
                panic!("`{fact}` is no fact")
            };
            ((kind.to_owned(), name.to_owned()), value.to_owned())
        });
        Some(Self(facts.collect()))
    }

    /// The relations that are not as they were.
    pub(crate) fn changed_since(&self, before: &Self) -> BTreeSet<String> {
        let differs = |key: &&(String, String)| self.0.get(*key) != before.0.get(*key);
        let all = self.0.keys().chain(before.0.keys());
        all.filter(differs).map(|(_, name)| name.clone()).collect()
    }
}
