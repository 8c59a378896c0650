//! What is shown, found and judged again of real records.

use guard_tests::{Stage, policies};
use serde_json::Value;

/// A stage with a run that reads and deletes, whose text would clear a terminal.
fn stage() -> Stage {
    let stage = Stage::builder().shop(10).start().unwrap();
    let sql = "SELECT '\u{1b}[2J\u{202e}', count(*) FROM public.customers; DELETE FROM public.orders WHERE id < 3";
    let _ok = stage.psql(sql).unwrap().ok();
    stage
}

fn json(stage: &Stage, arguments: &[&str]) -> Value {
    let said = stage.tool(&[arguments, &["--json"]].concat()).unwrap().ok();
    serde_json::from_slice(&said.stdout).unwrap()
}

#[test]
fn a_session_is_replayed_and_nothing_of_it_reaches_the_terminal() {
    let stage = stage();
    let record = stage.report_dirs().pop().unwrap().join("record.jsonl");
    let record = record.to_str().unwrap();
    let said = stage.tool(&["audit", "replay", record]).unwrap().ok();
    let text = said.text();
    assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text}");
    for part in [
        "acme/shop",
        "by policy `stage`",
        "delete `public.orders`",
        r"\u{1b}[2J\u{202e}",
        "allow by rule `everything`",
        "→ 2 rows",
        "the run has finished, exit code 0",
    ] {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
    // Cut off, it is shown as far as it goes.
    let cut = stage.dir().join("cut.jsonl");
    let whole = std::fs::read(record).unwrap();
    std::fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    let said = stage.tool(&["audit", "replay", cut.to_str().unwrap()]).unwrap().code(1);
    assert!(said.says("the record is broken").text().contains("acme/shop"));
    // Nothing before the cut was changed, and `verify` says so.
    let key = stage.key().unwrap();
    let said =
        stage.tool(&["audit", "verify", cut.to_str().unwrap(), "--key", key.trim()]).unwrap();
    let text = said.code(1).text();
    assert!(text.starts_with("cut: line ") && text.contains("lines whose chain holds"), "{text}");
    // A change before the cut is more than a cut.
    let changed = String::from_utf8_lossy(&whole[..whole.len() / 2]).replacen("acme", "acne", 1);
    std::fs::write(&cut, changed).unwrap();
    let said =
        stage.tool(&["audit", "verify", cut.to_str().unwrap(), "--key", key.trim()]).unwrap();
    assert!(said.code(1).text().starts_with("broken: line "));
}

#[test]
fn runs_are_found_by_what_they_are_and_by_what_they_touched() {
    let stage = stage();
    let _refused = stage.psql("SELECT nothing FROM nowhere").unwrap();
    let folder = stage.reports();
    let folder = folder.to_str().unwrap();
    for (arguments, runs) in [
        (&["--repo", "acme/shop"][..], 2),
        (&["--repo", "456789", "--since", "1h", "--resource", "shop"], 2),
        (&["--trust-rule", "nightly"], 2),
        (&["--repo", "acme/other"], 0),
        (&["--until", "1h"], 0),
        (&["--resource", "other"], 0),
        (&["--blocked"], 0),
        (&["--masked"], 0),
    ] {
        let listed = json(&stage, &[&["audit", "list", folder], arguments].concat());
        assert_eq!(listed.as_array().unwrap().len(), runs, "{arguments:?}: {listed}");
    }
    for (arguments, runs) in [
        (&["public.orders", folder][..], 1),
        (&["orders", folder], 1),
        (&["other.orders", folder], 0),
        (&["--text", "delete from", folder], 1),
        (&["public.orders", folder, "--repo", "acme/other"], 0),
    ] {
        let found = json(&stage, &[&["audit", "search"], arguments].concat());
        let found = found.as_array().unwrap();
        assert_eq!(found.len(), runs, "{arguments:?}: {found:?}");
        if let Some(run) = found.first() {
            let touched = &run["operations"][0];
            assert_eq!(touched["rows"], 2, "{touched}");
            assert!(touched["effects"].to_string().contains("delete `public.orders`"), "{touched}");
        }
    }
    let said = stage.tool(&["audit", "search", "public.orders", folder]).unwrap().ok().text();
    assert!(said.contains("1 times, 2 rows") && !said.contains('\u{1b}'), "{said}");
    let _wrong = stage.tool(&["audit", "search", "public.orders"]).unwrap().code(2);
}

#[test]
fn a_stricter_policy_is_tried_on_past_runs_before_it_breaks_one() {
    let stage = stage();
    let folder = stage.reports();
    let folder = folder.to_str().unwrap();
    let propose = |yaml: &str, arguments: &[&str]| {
        let file = stage.dir().join("proposed.yaml");
        std::fs::write(&file, yaml).unwrap();
        let file = file.to_str().unwrap();
        let known = ["policy", "replay", file, "--records", folder, "--runs", "1d"];
        stage.tool(&[&known[..], arguments].concat()).unwrap()
    };
    let said = propose(policies::ALLOW_ALL, &["--fail-on-refused"]).ok();
    assert!(said.text().contains("nothing would be ruled otherwise"), "{}", said.text());

    let said = propose(policies::READ_ONLY, &["--fail-on-refused"]).code(1).text();
    for part in [
        "DELETE FROM public.orders WHERE id < 3",
        "- allow by rule `everything`",
        "+ block by rule `default-deny`",
        "blocked DELETE on `public.orders`",
        "1 operation that went on would be refused",
    ] {
        assert!(said.contains(part), "no `{part}` in\n{said}");
    }
    let _ok = propose(policies::READ_ONLY, &[]).ok();
    let answer = propose(policies::READ_ONLY, &["--json"]).ok();
    let answer: Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert_eq!((&answer["runs"], &answer["operations"]), (&1.into(), &2.into()), "{answer}");
    assert_eq!(answer["changed"][0]["would_be_refused"], true, "{answer}");
    assert_eq!(answer["changed"].as_array().unwrap().len(), 1, "{answer}");

    // One that only observes refuses nothing.
    let observing =
        policies::READ_ONLY.replace("policy: stage\n", "policy: stage\nmode: observe\n");
    let _ok = propose(&observing, &["--fail-on-refused"]).ok();
    // Masks are not known of what was not masked.
    let said = propose(&policies::MASKED.replace("[read,", "[read, delete,"), &[]).ok().text();
    assert!(said.contains("not known: 1 operation on tables with masked columns"), "{said}");
    let said = propose(&policies::READ_ONLY.replace("policy: stage", "policy: other"), &[]).code(2);
    let _said = said.says("found no run under policy `other`");
    let renamed = policies::READ_ONLY.replace("policy: stage", "policy: other");
    let _ok = propose(&renamed, &["--policy", "stage"]).ok();
}
