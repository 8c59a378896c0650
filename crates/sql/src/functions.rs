//! What is known of functions, types and settings by name. The data files are reviewed line by line.

use std::{
    collections::{HashMap, HashSet},
    sync::LazyLock,
};

/// What calling a function does beside computing a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Harmless,
    Reveal,
    Session,
    Sequence,
    Lock,
    Notify,
    Maintain,
    LargeObjectRead,
    LargeObjectWrite,
    LargeObjectDrop,
    File,
    Network,
    Signal,
    Config,
    Replication,
    Code,
}

impl Class {
    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "harmless" => Self::Harmless,
            "reveal" => Self::Reveal,
            "session" => Self::Session,
            "sequence" => Self::Sequence,
            "lock" => Self::Lock,
            "notify" => Self::Notify,
            "maintain" => Self::Maintain,
            "large-object-read" => Self::LargeObjectRead,
            "large-object-write" => Self::LargeObjectWrite,
            "large-object-drop" => Self::LargeObjectDrop,
            "file" => Self::File,
            "network" => Self::Network,
            "signal" => Self::Signal,
            "config" => Self::Config,
            "replication" => Self::Replication,
            "code" => Self::Code,
            _ => return None,
        })
    }
}

fn lines(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

static FUNCTIONS: LazyLock<HashMap<&'static str, Class>> = LazyLock::new(|| {
    lines(include_str!("data/functions.txt"))
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(name, class)| Some((name, Class::parse(class)?)))
        .collect()
});

static TYPES: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| lines(include_str!("data/types.txt")).collect());

static EXTENSIONS: LazyLock<HashSet<(&'static str, &'static str)>> = LazyLock::new(|| {
    lines(include_str!("data/extensions.txt")).filter_map(|line| line.split_once(' ')).collect()
});

/// Where the libraries of extensions are (`pg_proc.probin`).
const LIBRARIES: &str = "$libdir/";

/// Whether a function in C is one that computes its result from its arguments and does nothing else: by where its code
/// is (`pg_proc.probin`; none for the server's own) and the symbol there (`pg_proc.prosrc`). Only a superuser can make a
/// function in C, so whatever it is called and whoever owns it, that code is what runs.
pub fn computes_only(place: Option<&str>, symbol: &str) -> bool {
    let library = match place {
        Some(place) => place.strip_prefix(LIBRARIES),
        None => Some("internal"),
    };
    library.is_some_and(|library| EXTENSIONS.contains(&(library, symbol)))
}

/// The class of a built-in or well-known function; `None` if it is not known.
pub(crate) fn class(name: &str) -> Option<Class> {
    FUNCTIONS.get(name).copied()
}

/// Whether a type is PostgreSQL's own.
pub(crate) fn is_builtin_type(name: &str) -> bool {
    TYPES.contains(name)
}

/// PostgreSQL's own operators.
const OPERATORS: [&str; 74] = [
    "!!", "!~", "!~*", "!~~", "!~~*", "##", "#", "#-", "#>", "#>>", "%", "&&", "&", "&<", "&<|",
    "&>", "*", "*<", "*<=", "*<>", "*=", "*>", "*>=", "+", "-", "->", "->>", "-|-", "/", "<",
    "<->", "<<", "<<=", "<<|", "<=", "<>", "<@", "<^", "=", ">", ">=", ">>", ">>=", ">^", "?#",
    "?&", "?", "?-", "?-|", "?|", "?||", "@", "@-@", "@>", "@?", "@@", "@@@", "^", "^@", "|&>",
    "|", "|/", "|>>", "||", "||/", "~", "~*", "~<=~", "~<~", "~=", "~>=~", "~>~", "~~", "~~*",
];

/// Whether an operator is PostgreSQL's own, or a word of its grammar (`BETWEEN`).
pub(crate) fn is_builtin_operator(name: &str) -> bool {
    OPERATORS.contains(&name) || name.chars().all(|c| c.is_ascii_alphabetic() || c == ' ')
}

/// Names of the result columns of set-returning functions that honest tools use in FROM.
pub(crate) fn result_columns(name: &str) -> Option<&'static [&'static str]> {
    Some(match name {
        "generate_series"
        | "generate_subscripts"
        | "unnest"
        | "regexp_split_to_table"
        | "string_to_table"
        | "json_array_elements"
        | "json_array_elements_text"
        | "jsonb_array_elements"
        | "jsonb_array_elements_text"
        | "json_object_keys"
        | "jsonb_object_keys"
        | "version"
        | "now"
        | "current_setting"
        | "current_schemas"
        | "current_database" => &["value"],
        "json_each" | "json_each_text" | "jsonb_each" | "jsonb_each_text" => &["key", "value"],
        "pg_options_to_table" => &["option_name", "option_value"],
        "aclexplode" => &["grantor", "grantee", "privilege_type", "is_grantable"],
        "pg_get_keywords" => &["word", "catcode", "barelabel", "catdesc", "baredesc"],
        _ => return None,
    })
}

/// Whether the rows of a set-returning function are what its arguments list.
pub(crate) fn lists_its_argument(name: &str) -> bool {
    matches!(
        name,
        "unnest"
            | "regexp_split_to_table"
            | "string_to_table"
            | "json_array_elements"
            | "json_array_elements_text"
            | "jsonb_array_elements"
            | "jsonb_array_elements_text"
            | "json_to_recordset"
            | "jsonb_to_recordset"
            | "json_populate_recordset"
            | "jsonb_populate_recordset"
    )
}

/// Whether the number of rows that a function makes depends on its arguments (`pg_proc.proretset`).
pub(crate) fn makes_rows(name: &str) -> bool {
    matches!(
        name,
        "aclexplode"
            | "generate_series"
            | "generate_subscripts"
            | "json_array_elements"
            | "json_array_elements_text"
            | "json_each"
            | "json_each_text"
            | "json_object_keys"
            | "json_populate_recordset"
            | "json_to_recordset"
            | "jsonb_array_elements"
            | "jsonb_array_elements_text"
            | "jsonb_each"
            | "jsonb_each_text"
            | "jsonb_object_keys"
            | "jsonb_path_query"
            | "jsonb_path_query_tz"
            | "jsonb_populate_recordset"
            | "jsonb_to_recordset"
            | "pg_mcv_list_items"
            | "pg_options_to_table"
            | "pg_snapshot_xip"
            | "regexp_matches"
            | "regexp_split_to_table"
            | "string_to_table"
            | "ts_debug"
            | "ts_parse"
            | "ts_stat"
            | "ts_token_type"
            | "txid_snapshot_xip"
            | "unnest"
    )
}

/// Whether a call's result tells nothing of its arguments' values.
pub(crate) fn carries_nothing(name: &str) -> bool {
    matches!(name, "count" | "row_number" | "rank" | "dense_rank" | "pg_typeof" | "grouping")
}

/// Settings of the session that change neither parsing, names, identity, triggers nor logging.
const HARMLESS_SETTINGS: [&str; 67] = [
    "application_name",
    "array_nulls",
    "backend_flush_after",
    "bytea_output",
    "check_function_bodies",
    "client_min_messages",
    "commit_delay",
    "commit_siblings",
    "constraint_exclusion",
    "cpu_index_tuple_cost",
    "cpu_operator_cost",
    "cpu_tuple_cost",
    "cursor_tuple_fraction",
    "datestyle",
    "default_statistics_target",
    "default_table_access_method",
    "default_tablespace",
    "default_text_search_config",
    "default_toast_compression",
    "default_transaction_deferrable",
    "default_transaction_isolation",
    "default_with_oids",
    "effective_cache_size",
    "effective_io_concurrency",
    "extra_float_digits",
    "force_parallel_mode",
    "from_collapse_limit",
    "geqo",
    "geqo_threshold",
    "gin_fuzzy_search_limit",
    "gin_pending_list_limit",
    "hash_mem_multiplier",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "intervalstyle",
    "jit",
    "join_collapse_limit",
    "lc_messages",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "lock_timeout",
    "logical_decoding_work_mem",
    "maintenance_io_concurrency",
    "maintenance_work_mem",
    "max_parallel_maintenance_workers",
    "max_parallel_workers_per_gather",
    "min_parallel_table_scan_size",
    "parallel_setup_cost",
    "parallel_tuple_cost",
    "plan_cache_mode",
    "quote_all_identifiers",
    "random_page_cost",
    "restrict_nonsystem_relation_kind",
    "row_security",
    "seed",
    "seq_page_cost",
    "statement_timeout",
    "synchronize_seqscans",
    "temp_buffers",
    "timezone",
    "transaction_deferrable",
    "transaction_isolation",
    "transaction_timeout",
    "vacuum_cost_delay",
    "work_mem",
    "xmloption",
];

/// Whether setting a parameter to a value is harmless.
///
/// Names resolve against every schema, so `search_path` changes nothing that guard relies on
/// unless it puts something before `pg_catalog`. Client encodings other than UTF-8 would make guard
/// and server read the same bytes differently. `row_security` turned off raises an error where rows
/// would have been hidden; it shows none.
pub(crate) fn is_harmless_setting(name: &str, values: &[&str]) -> bool {
    let name = name.to_ascii_lowercase();
    let word = values.first().map(|v| v.to_ascii_lowercase()).unwrap_or_default();
    let is_on = matches!(word.as_str(), "on" | "true" | "yes" | "1" | "t" | "y");
    match name.as_str() {
        "search_path" => {
            let parts = values.iter().flat_map(|v| v.split(','));
            let mut later = parts.map(|p| p.trim().trim_matches('"')).skip(1);
            // The server makes small letters of it where it is not in quotes of its own.
            !later.any(|part| part.eq_ignore_ascii_case("pg_catalog"))
        }
        "standard_conforming_strings"
        | "transaction_read_only"
        | "default_transaction_read_only"
        | "escape_string_warning" => is_on,
        "backslash_quote" => word == "safe_encoding",
        "client_encoding" | "names" => {
            let plain: String = word.chars().filter(char::is_ascii_alphanumeric).collect();
            matches!(plain.as_str(), "utf8" | "unicode" | "sqlascii")
        }
        name if name.starts_with("enable_") => true,
        name => HARMLESS_SETTINGS.contains(&name),
    }
}
