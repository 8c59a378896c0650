//! What a report says of a record, and what a record cannot make it say.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "tests"
)]

use guard_core::{Budget, Certainty, DecisionKind, EndReason, EnforceAt, Mask, Verb};

use super::*;
use crate::{
    Event, Outcome, SealingKey,
    fixture::{self, Builder, Op, backup, denial, effect, outcome, over_budget, read},
};

fn report(record: &[u8], key: &SealingKey) -> Report {
    Report::from_record(record, &[key.public()]).unwrap()
}

/// Texts that try to become something else in a report.
const ATTACKS: [&str; 10] = [
    "</pre></script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\"'><svg/onload=alert(1)>",
    "</style><style>body{display:none}</style>",
    "{{ 7 * 7 }} {% raw %} &lt;b&gt;",
    "a | b |\n| --- | --- |\n| x | y |",
    "```\n# heading\n![p](https://evil.example/p.png)\n```",
    "`` [click](javascript:alert(1)) <https://evil.example>",
    "\u{1b}[2J\u{1b}]0;owned\u{7}\r\u{9b}31m",
    "\u{202e}elbat pord\u{2066}\u{200b}\0",
];

/// A record in which every text of the job is the attack.
fn attacked(attack: &str, key: &SealingKey) -> Vec<u8> {
    let mut identity = fixture::identity();
    for field in [
        &mut identity.repository,
        &mut identity.git_ref,
        &mut identity.workflow,
        &mut identity.actor,
        &mut identity.event,
        &mut identity.run.job,
    ] {
        *field = attack.to_owned();
    }
    identity.run_url = Some(format!("javascript:alert(1)//{attack}"));
    identity.claims.insert(attack.to_owned(), attack.to_owned());
    let mut builder = Builder::new(identity, EnforceAt::Shim);
    let label = Op { label: attack, ..read(attack, attack) };
    let allowed = builder.operation(label);
    let error = Some(attack.to_owned());
    builder.statement(allowed, Some(Outcome { error, ..outcome(1, 1, 1, 1) }));
    let blocked = builder.operation(Op {
        decision: DecisionKind::Block,
        effects: vec![effect(Verb::Drop, attack)],
        fingerprint: "drop",
        ..read(attack, attack)
    });
    builder.refuse(
        blocked,
        Denial {
            detail: Some(attack.to_owned()),
            hint: Some(attack.to_owned()),
            ..denial(&format!("blocked {attack}"))
        },
    );
    builder.observed(blocked, denial(&format!("blocked {attack}")));
    builder.statement(allowed, Some(over_budget()));
    builder.broker(Event::LeaseReleased {
        lease: "0192a1b2-0000-7000-8000-00000000000a".parse().unwrap(),
        problem: Some(attack.to_owned()),
    });
    builder.sealed(key)
}

#[test]
fn what_only_was_observed_and_what_was_over_a_budget_stand_apart_from_what_was_refused() {
    let key = SealingKey::generate().unwrap();
    let mut builder = backup();
    let drop = builder.operation(Op {
        decision: DecisionKind::Block,
        effects: vec![effect(Verb::Drop, "orders")],
        ..read("DROP TABLE public.orders", "observed")
    });
    builder.observed(drop, denial("blocked DROP on `public.orders`"));
    builder.observed(drop, denial("blocked DROP on `public.orders`"));
    let read = builder.operation(read("SELECT * FROM public.events", "events"));
    builder.statement(read, Some(over_budget()));
    let report = report(&builder.sealed(&key), &key);
    let counts = report.counts;
    assert_eq!((counts.refused, counts.would_refuse, counts.over_budget), (1, 2, 1));
    assert_eq!((report.would_refuse.total, report.would_refuse.listed[0].count), (1, 2));
    let over = &report.budgets.listed[0];
    assert_eq!(
        (over.budget, over.limit, over.connection, over.ended),
        (Budget::RowsPerStatement, 1000, 0, true)
    );
    let html = report.to_html().unwrap();
    let markdown = report.to_markdown();
    for said in
        ["Would be refused", "DROP TABLE public.orders", "Over a budget", "rows_per_statement"]
    {
        assert!(html.contains(said), "{said}");
        assert!(markdown.contains(said), "{said} in {markdown}");
    }
}

#[test]
fn a_backup_is_reported() {
    let key = SealingKey::generate().unwrap();
    let report = report(&backup().sealed(&key), &key);
    assert_eq!(report.counts.statements, 2);
    assert_eq!(report.counts.refused, 1);
    assert_eq!(report.counts.rows, 370_000);
    assert_eq!(report.counts.masked, 240_000);
    assert_eq!(report.counts.changes, 0);
    assert_eq!(report.integrity.whole, Whole::Verified);
    assert_eq!(report.gaps, Vec::<String>::new());
    assert_eq!(report.window.reason, Some(EndReason::Finished));
    assert_eq!(report.refused.listed[0].code, "GRD-2101");
    let classes: Vec<_> = report.operations.listed.iter().map(|o| o.class).collect();
    assert_eq!(classes, [Class::MaskedRead, Class::Read]);
    let html = report.to_html().unwrap();
    for said in ["DROP TABLE public.customers CASCADE", "octo-org/octo-repo", "record verified"] {
        assert!(html.contains(said), "{said}");
    }
    let markdown = report.to_markdown();
    assert!(markdown.starts_with("### guard: 1 statement was refused\n"), "{markdown}");
    assert!(markdown.contains("`DROP TABLE public.customers CASCADE`"), "{markdown}");
}

#[test]
fn a_report_says_how_often_the_job_was_heard_of_by_fresh_tokens_of_its_platform() {
    let key = SealingKey::generate().unwrap();
    let never = report(&backup().sealed(&key), &key);
    assert_eq!((never.window.renewals, never.window.renewed_until), (0, None));
    assert!(
        !never.to_markdown().contains("renewed") && !never.to_html().unwrap().contains("renewed")
    );
    let mut builder = backup();
    let last = "2026-11-21T02:20:00Z".parse().unwrap();
    for until in ["2026-11-21T02:10:00Z".parse().unwrap(), last] {
        builder.broker(Event::SessionRenewed { until });
    }
    let twice = report(&builder.sealed(&key), &key);
    assert_eq!((twice.window.renewals, twice.window.renewed_until), (2, Some(last)));
    let said = "2 times, the last time until 2026-11-21 02:20:00";
    assert!(twice.to_markdown().contains(&format!("- renewed {said}")), "{}", twice.to_markdown());
    assert!(twice.to_html().unwrap().contains(said));
}

#[test]
fn a_report_is_the_same_every_time() {
    let key = SealingKey::generate().unwrap();
    let record = backup().sealed(&key);
    let (one, two) = (report(&record, &key), report(&record, &key));
    assert_eq!(one.to_json().unwrap(), two.to_json().unwrap());
    assert_eq!(one.to_html().unwrap(), two.to_html().unwrap());
    assert_eq!(one.to_markdown(), two.to_markdown());
}

#[test]
fn a_broad_trust_rule_says_why_in_every_report() {
    let key = SealingKey::generate().unwrap();
    let why = Some("every branch <b>may</b>".to_owned());
    let builder = Builder::admitted(fixture::identity(), EnforceAt::Gateway, why);
    let report = report(&builder.sealed(&key), &key);
    let html = report.to_html().unwrap();
    assert!(html.contains("broad rule, because"), "{html}");
    assert!(
        html.contains("every branch &#60;b&#62;may") || html.contains("every branch &lt;b&gt;may")
    );
    let markdown = report.to_markdown();
    assert!(markdown.contains("the rule is broad"), "{markdown}");
    assert!(report.to_json().unwrap().contains("\"broad\": \"every branch <b>may</b>\""));
}

#[test]
fn no_text_of_a_job_becomes_html() {
    let key = SealingKey::generate().unwrap();
    let plain = report(&attacked("x", &key), &key).to_html().unwrap();
    let tags = |html: &str| html.matches('<').count();
    for attack in ATTACKS {
        let html = report(&attacked(attack, &key), &key).to_html().unwrap();
        assert_eq!(tags(&html), tags(&plain), "{attack:?} made a tag");
        assert!(!html.contains("href=\"javascript"), "{attack:?}");
        for hidden in ['\u{1b}', '\u{7}', '\r', '\u{202e}', '\u{2066}', '\u{200b}', '\0', '\u{9b}']
        {
            assert!(!html.contains(hidden), "{hidden:?} of {attack:?}");
        }
    }
}

#[test]
fn no_text_of_a_job_becomes_markdown() {
    let key = SealingKey::generate().unwrap();
    let plain = report(&attacked("x", &key), &key).to_markdown();
    for attack in ATTACKS {
        let markdown = report(&attacked(attack, &key), &key).to_markdown();
        assert_eq!(markdown.lines().count(), plain.lines().count(), "{attack:?} made a line");
        for line in markdown.lines() {
            let outside = without_code_spans(line);
            for mark in ["<", "](", "http", "alert", "evil", "\u{1b}", "\u{202e}", "{%"] {
                assert!(!outside.contains(mark), "{mark:?} of {attack:?} in {outside:?}");
            }
        }
    }
}

#[test]
fn no_text_of_a_job_becomes_xml() {
    let key = SealingKey::generate().unwrap();
    let tags = |xml: &str| {
        let known = ["testcase", "failure", "skipped", "error", "property"];
        (xml.matches('<').count(), known.map(|tag| xml.matches(&format!("<{tag} ")).count()))
    };
    let plain = tags(&report(&attacked("x", &key), &key).to_junit().unwrap());
    let more = [
        "]]><!--",
        "<![CDATA[",
        "a\u{fffe}b\u{ffff}",
        "&#27;&lt;",
        "<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>&e;",
    ];
    for attack in ATTACKS.into_iter().chain(more) {
        let xml = report(&attacked(attack, &key), &key).to_junit().unwrap();
        assert_eq!(tags(&xml), plain, "{attack:?} made an element in {xml}");
        // <https://www.w3.org/TR/xml/#charsets>, and none that hides or turns text around.
        let allowed = |c: char| {
            c == '\n'
                || (c >= ' '
                    && !matches!(
                        c,
                        '\u{7f}'
                            ..='\u{9f}'
                                | '\u{200b}'
                                | '\u{202e}'
                                | '\u{2066}'
                                | '\u{fffe}'
                                | '\u{ffff}'
                    ))
        };
        assert!(xml.chars().all(allowed), "{attack:?} in {xml:?}");
        for named in ["&#0;", "&#27;", "&#x1b;"] {
            assert!(!xml.contains(named), "{named} of {attack:?}");
        }
    }
}

#[test]
fn each_refusal_is_a_failed_test_and_the_record_one_of_its_own() {
    let key = SealingKey::generate().unwrap();
    let record = backup().sealed(&key);
    let xml = report(&record, &key).to_junit().unwrap();
    assert!(xml.contains("tests=\"2\" failures=\"1\" errors=\"0\""), "{xml}");
    for said in ["DROP TABLE public.customers CASCADE", "GRD-2101", "the record is whole"] {
        assert!(xml.contains(said), "no {said} in {xml}");
    }
    let mut broken = record.clone();
    let last = broken.len() - 20;
    broken[last] ^= 1;
    let xml = report(&broken, &key).to_junit().unwrap();
    assert!(xml.contains("errors=\"1\"") && xml.contains("the record is broken"), "{xml}");

    // More than are listed are one case that failed, and a case is no longer than it has to be.
    let mut builder = backup();
    for number in 0..600 {
        let text = format!("DROP TABLE t{number} {}", "x".repeat(20_000));
        let op = builder
            .operation(Op { decision: DecisionKind::Block, ..read(&text, &format!("f{number}")) });
        builder.refuse(op, denial("blocked DROP"));
    }
    let xml = report(&builder.sealed(&key), &key).to_junit().unwrap();
    assert!(
        xml.contains("tests=\"502\" failures=\"501\"") && xml.contains("101 more"),
        "{}",
        &xml[..400]
    );
    assert!(xml.len() < 5_000_000, "{}", xml.len());
}

/// CommonMark 6.1: a run of backticks opens a code span that the next run of the same length ends.
fn without_code_spans(line: &str) -> String {
    let (mut outside, mut rest) = (String::new(), line);
    while let Some(start) = rest.find('`') {
        let fence = rest[start..].len() - rest[start..].trim_start_matches('`').len();
        outside.push_str(&rest[..start]);
        let after = &rest[start + fence..];
        let mut at = 0;
        rest = loop {
            let Some(next) = after[at..].find('`').map(|next| at + next) else { break after };
            let run = after[next..].len() - after[next..].trim_start_matches('`').len();
            at = next + run;
            if run == fence {
                break &after[at..];
            }
        };
    }
    outside + rest
}

#[test]
fn the_page_allows_its_own_style_and_nothing_else() {
    let key = SealingKey::generate().unwrap();
    let html = report(&backup().sealed(&key), &key).to_html().unwrap();
    let style = html.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
    let hash = {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        STANDARD.encode(Digest::of(style).as_bytes())
    };
    assert!(html.contains(&format!(
        "content=\"default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'\""
    )));
    assert!(!html.contains("<script") && !html.contains(" style=") && !html.contains("src="));
}

#[test]
fn a_record_that_is_not_whole_is_told_so() {
    let key = SealingKey::generate().unwrap();
    let sealed = backup().sealed(&key);

    let unsealed = report(&backup().lines, &key);
    assert_eq!(unsealed.integrity.whole, Whole::Unsealed);
    assert_eq!(unsealed.gaps.len(), 2, "{:?}", unsealed.gaps);
    assert!(unsealed.to_markdown().contains("**the record is not sealed**"));

    let unchecked = Report::from_record(&sealed[..], &[]).unwrap();
    assert_eq!(unchecked.integrity.whole, Whole::Unchecked);
    assert_eq!(unchecked.gaps.len(), 1);

    let other = SealingKey::generate().unwrap();
    assert_eq!(report(&sealed, &other).integrity.whole, Whole::Broken);

    let changed = String::from_utf8(sealed).unwrap().replace("250000", "250001");
    let broken = report(changed.as_bytes(), &key);
    assert_eq!(broken.integrity.whole, Whole::Broken);
    assert!(broken.to_html().unwrap().contains("record broken"));
    assert!(broken.to_markdown().contains("**the record is broken**"));

    for nothing in [&b""[..], b"\n", b"{}\n", b"hello"] {
        assert!(matches!(
            Report::from_record(nothing, &[key.public()]),
            Err(ReportError::NoRecord(_))
        ));
    }
}

#[test]
fn statements_without_an_answer_are_lost() {
    let key = SealingKey::generate().unwrap();
    let mut builder = backup();
    let update = builder.operation(Op {
        label: "UPDATE",
        effects: vec![effect(Verb::Update, "orders")],
        ..read("UPDATE orders SET total = 0 WHERE id = 1", "orders")
    });
    builder.statement(update, None);
    let error = Some("lost".to_owned());
    builder.statement(update, Some(Outcome { error, ..Outcome::default() }));
    let error = Some("40001".to_owned());
    builder.statement(update, Some(Outcome { error, ..Outcome::default() }));
    let report = report(&builder.sealed(&key), &key);
    assert_eq!((report.counts.lost, report.counts.failed, report.counts.changes), (2, 1, 3));
    let first = &report.operations.listed[0];
    assert_eq!((first.class, first.count, first.lost), (Class::Change, 3, 2));
    assert_eq!(first.errors, BTreeMap::from([("40001".to_owned(), 1)]));
    assert!(report.gaps[0].starts_with("2 statement(s)"), "{:?}", report.gaps);
}

#[test]
fn of_statements_without_their_literals_the_first_ones_own_text_is_shown() {
    let key = SealingKey::generate().unwrap();
    let mut builder = backup();
    let operation = builder.operation(read("SELECT 1 FROM orders WHERE id = $1", "orders"));
    builder.statement_with(operation, "SELECT 1 FROM orders WHERE id = 4711");
    builder.statement_with(operation, "SELECT 1 FROM orders WHERE id = 4712");
    let report = report(&builder.sealed(&key), &key);
    let listed = report.operations.listed.iter().map(|operation| {
        (operation.statement.text.as_str(), operation.statement.text_bytes, operation.count)
    });
    let listed: Vec<_> = listed.collect();
    assert!(listed.contains(&("SELECT 1 FROM orders WHERE id = 4711", 36, 2)), "{listed:?}");
}

#[test]
fn the_same_refusal_is_shown_once_and_counted() {
    let key = SealingKey::generate().unwrap();
    let mut builder = backup();
    for _ in 0..3 {
        let drop = builder.operation(Op {
            decision: DecisionKind::Block,
            effects: vec![effect(Verb::Drop, "orders")],
            ..read("DROP TABLE orders", "orders")
        });
        builder.refuse(drop, denial("blocked DROP on `public.orders`"));
    }
    let report = report(&builder.sealed(&key), &key);
    assert_eq!((report.counts.refused, report.refused.total), (4, 2));
    assert_eq!(report.refused.listed[1].count, 3);
}

#[test]
fn enforcement_at_the_shim_promises_less() {
    let key = SealingKey::generate().unwrap();
    let report = report(&attacked("x", &key), &key);
    let holds: Vec<_> = report.grants[0].promises.iter().map(|p| p.holds).collect();
    assert_eq!(holds[..3], [Holds::No, Holds::Yes, Holds::Unless]);
    assert!(report.to_html().unwrap().contains("it was in the shim&#39;s memory"));
}

#[test]
fn whatever_a_job_does_the_page_stays_small() {
    let key = SealingKey::generate().unwrap();
    let mut builder = backup();
    let long = "'<&\"\u{1b}".repeat(20_000);
    for index in 0..600 {
        let text = format!(
            "SELECT {index}, '{}'",
            &long[..if index % 100 == 0 { 100_000 } else { 4_000 }]
        );
        let operation = builder.operation(Op {
            masks: vec![Some(Mask::Redact); 40],
            effects: vec![effect(Verb::Read, &"<".repeat(63)); 40],
            ..read(&text, "t")
        });
        for _ in 0..2 {
            builder.statement(operation, Some(outcome(1, 10, 1, 5)));
        }
        if index % 2 == 0 {
            builder.refuse(operation, denial(&text));
        }
    }
    let record = builder.sealed(&key);
    let report = report(&record, &key);
    let html = report.to_html().unwrap();
    let (markdown, json) = (report.to_markdown(), report.to_json().unwrap());
    assert_eq!(report.counts.statements, 1_202);
    assert!(html.len() < 10_000_000, "{}", html.len());
    assert!(html.contains("are listed; the record has the rest"));
    assert!(markdown.len() < 100_000, "{}", markdown.len());
    assert!(!json.is_empty());
}

#[test]
fn the_manifest_names_what_was_masked_and_how() {
    let key = SealingKey::generate().unwrap();
    let report = report(&backup().sealed(&key), &key);
    let tables: Vec<_> =
        report.manifest.listed.iter().map(|table| table.tables.join(", ")).collect();
    assert_eq!(tables, ["public.customers", "public.orders"]);
    let customers = &report.manifest.listed[0];
    assert_eq!((customers.rows, customers.masked), (120_000, 240_000));
    let columns: Vec<_> =
        customers.columns.iter().map(|c| format!("{} {}", c.column, c.mask.as_str())).collect();
    assert_eq!(columns, ["public.customers.email hash", "public.customers.full_name partial"]);
    assert_eq!(customers.detected.get(&guard_core::Detector::Card), Some(&2));
    assert!(report.manifest.listed[1].columns.is_empty());
    for text in [report.to_markdown(), report.to_html().unwrap()] {
        assert!(text.contains("public.customers.email hash") && text.contains("card ×2"), "{text}");
    }
}

#[test]
fn what_was_not_understood_stands_first() {
    let key = SealingKey::generate().unwrap();
    let mut builder = backup();
    let code = Event::Operation {
        operation: 99,
        resource: fixture::resource(),
        label: "?".into(),
        text: guard_core::Sensitive::new("DO $$ … $$".into()),
        fingerprint: Digest::of("do"),
        effects: Vec::new(),
        certainty: Certainty::Unparsed("procedural code".into()),
        decision: DecisionKind::Allow,
        rule: RuleId::new("odd").unwrap(),
        trace: Vec::new(),
        masks: Vec::new(),
        masked_columns: Vec::new(),
        details: None,
        unlisted: false,
        rows_learned: None,
    };
    builder.gateway(code);
    builder.statement(99, Some(outcome(0, 0, 0, 1)));
    let report = report(&builder.sealed(&key), &key);
    assert_eq!(report.operations.listed[0].class, Class::NotUnderstood);
    assert!(report.gaps[0].contains("did not understand"), "{:?}", report.gaps);
}

#[test]
fn all_files_of_a_run_are_written() {
    let key = SealingKey::generate().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("guard-report").join("s");
    let record = backup().sealed(&key);
    let written =
        write_report(&record, &folder, &[key.public()], "https://guard.example.com").unwrap();
    assert_eq!(written.counts.refused, 1);
    assert_eq!(std::fs::read(folder.join("record.jsonl")).unwrap(), record);
    let annotations = std::fs::read(folder.join("annotations.json")).unwrap();
    let annotations: serde_json::Value = serde_json::from_slice(&annotations).unwrap();
    let link = &annotations["guard"][0]["external_link"];
    let session = report(&record, &key).session;
    assert_eq!(link["url"], format!("https://guard.example.com/runs/{session}"));
    assert_eq!(link["label"], "guard: 1 statement was refused");
    for name in ["report.html", "report.md", "report.json", "report.junit.xml"] {
        assert!(std::fs::metadata(folder.join(name)).unwrap().len() > 500, "{name}");
    }
}

/// A report with an answer of such rows.
fn with_rows(columns: &[&str], rows: Vec<crate::Row>) -> Report {
    let key = SealingKey::generate().unwrap();
    let mut record = backup();
    let asked = record.operation(read("SELECT asked", "asked"));
    record.answered(asked, columns, rows);
    Report::from_record(&record.sealed(&key)[..], &[key.public()]).unwrap()
}

#[test]
fn rows_of_answers_are_text_and_only_for_who_may_see_values() {
    let cell = |text: &str| Some(crate::Cell::Text(text.into()));
    let binary = Some(crate::Cell::Binary { base64: "AAH/".into() });
    let row = vec![cell("<script>value</script>\u{202e}"), binary, None];
    let report = with_rows(&["<img src=x>", "binary", "none"], vec![row]);
    let page = report.to_html().unwrap();
    assert!(page.contains("&#60;script&#62;value") && page.contains("base64 AAH/"), "{page}");
    assert!(page.contains("truncated") && page.contains("NULL"), "{page}");
    assert!(!page.contains("<script") && !page.contains("<img") && !page.contains('\u{202e}'));
    let hidden = report.without_literals();
    let parts = hidden.to_parts().unwrap();
    for text in [hidden.to_html().unwrap(), hidden.to_json().unwrap(), parts.summary, parts.rest] {
        assert!(!text.contains("value</") && !text.contains("value&#60;"), "{text}");
    }
}

#[test]
fn a_report_shows_the_first_rows_however_many_there_are() {
    let row = vec![Some(crate::Cell::Text("\u{1}".repeat(600))); 60];
    let report = with_rows(&["x"; 60], vec![row; 60]);
    assert!(report.to_html().unwrap().len() < 3_000_000);
    assert!(report.to_parts().unwrap().rest.len() < 1_000_000);
    assert!(report.to_json().unwrap().len() < 8_000_000);
    let shown = &report.results.listed[0];
    assert_eq!((shown.kept, shown.got, shown.truncated), (60, Some(1_000), true));
}

#[test]
fn what_each_command_of_a_session_did_is_told_apart() {
    use guard_core::{Isolation, Sensitive, StepName, control::RunStep};

    use crate::StatementPhase;

    let mut builder = backup();
    let isolated = |number, name: Option<&str>| Event::Isolated {
        level: Isolation::Landlock,
        required: None,
        why_not: Vec::new(),
        step: Some(RunStep { number, name: name.map(|name| StepName::new(name).unwrap()) }),
    };
    builder.broker(isolated(1, Some("migrate")));
    builder.broker(isolated(2, None));
    let connected = |connection, step| Event::Connected {
        connection,
        resource: crate::fixture::resource(),
        enforced_at: EnforceAt::Gateway,
        point: "eu-1".into(),
        client: Sensitive::new("psql".into()),
        database: "shop".into(),
        step: Some(step),
    };
    builder.gateway(connected(1, 1));
    builder.gateway(connected(2, 2));
    let operation = builder.operation(read("SELECT email FROM users", "of a step"));
    let statement = |statement, connection| Event::Statement {
        statement,
        connection,
        operation,
        phase: StatementPhase::Execute,
        would_refuse: None,
        estimated_rows: None,
        text: None,
        approval: None,
    };
    builder.gateway(statement(1_000, 2));
    builder.gateway(statement(1_001, 1));
    builder.gateway(Event::Finished { statement: 1_000, outcome: outcome(3, 30, 2, 9) });
    let key = SealingKey::generate().unwrap();
    let report = Report::from_record(&builder.sealed(&key)[..], &[key.public()]).unwrap();

    let steps: Vec<_> = report.steps.listed.iter().collect();
    let told: Vec<_> =
        steps.iter().map(|s| (s.number, s.statements, s.refused, s.masked, s.rows)).collect();
    assert_eq!(told, [(1, 1, 0, 0, 0), (2, 1, 0, 2, 3)]);
    assert_eq!(steps[0].name.as_ref().unwrap().as_str(), "migrate");
    assert_eq!(report.connections.listed.last().unwrap().step, Some(2));
    assert!(report.to_markdown().contains("- step 1 `migrate`: 1 executed, 0 refused"));
    assert!(report.to_html().unwrap().contains("<td>migrate</td>"));
}
