//! What is made of real records: exports, checked by the schemas and libraries of others, replay and search.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod replayed;
mod watched;

use std::{path::Path, process::Command};

use guard_tests::{Finished, Stage, policies, validator};

/// A run that reads, reads what is masked, changes what it may not, fails, and names things as an attacker does.
const STATEMENTS: &str = "SELECT count(*) FROM public.orders; \
    SELECT email FROM public.customers ORDER BY id LIMIT 2; \
    SELECT '\u{1b}[2J\u{202e}</script>' AS \"]]>\"; \
    SELECT 1/0";

/// Runs the validator on an export of the newest record.
fn valid(stage: &Stage, format: &str) -> String {
    let record = stage.report_dirs().pop().unwrap().join("record.jsonl");
    let out = stage.dir().join(format);
    let (record, out) = (record.to_str().unwrap(), out.to_str().unwrap());
    let _ok =
        stage.tool(&["audit", "export", record, "--format", format, "--out", out]).unwrap().ok();
    check(validator().unwrap().args([format, out]))
}

fn check(command: &mut Command) -> String {
    Finished::from(command.output().unwrap()).ok().text()
}

fn count(text: &str, line: &str) -> usize {
    text.lines().filter(|known| *known == line).count()
}

#[test]
fn exports_of_a_run_are_valid_by_the_published_schemas() {
    let stage = Stage::builder().shop(10).policy(policies::MASKED).start().unwrap();
    let _refused = stage.psql("DELETE FROM public.orders").unwrap().code(1);
    for format in ["ocsf", "cloudevents", "sarif"] {
        valid(&stage, format);
    }
    let text = valid(&stage, "sarif");
    assert_eq!(text, "stage/default-deny error");
    let _failed = stage.psql(STATEMENTS).unwrap().code(1);
    let text = valid(&stage, "ocsf");
    assert_eq!(count(&text, "3003 1"), 1, "{text}");
    assert!(count(&text, "6005 1") >= 3, "{text}");
    assert_eq!(count(&text, "6005 4"), 1, "the masked read: {text}");
    let text = valid(&stage, "cloudevents");
    assert_eq!(text.lines().next(), Some("dev.guard.session.opened"), "{text}");
    assert_eq!(text.lines().last(), Some("dev.guard.session.ended"), "{text}");
}

#[test]
fn refused_statements_are_failed_tests_by_the_published_schema_and_gitlabs_link_is_valid() {
    let stage = Stage::builder().shop(10).policy(policies::READ_ONLY).start().unwrap();
    let attack =
        "DELETE FROM public.orders WHERE id::text = '\u{1b}[2J\u{202e}]]></failure><!--\u{fffe}'";
    let _refused = stage.psql(attack).unwrap().code(1);
    let folder = stage.report_dirs().pop().unwrap();
    let junit = folder.join("report.junit.xml");
    let text = check(validator().unwrap().arg("junit").arg(&junit));
    assert!(text.starts_with("the record is whole | passed\n"), "{text}");
    assert!(
        text.contains("DELETE FROM public.orders") && text.contains("| failure GRD-2102"),
        "{text}"
    );
    let annotations = folder.join("annotations.json");
    let text = check(validator().unwrap().arg("annotations").arg(&annotations));
    let session = folder.file_name().unwrap().display();
    assert_eq!(text, format!("guard guard: 1 statement was refused {}/runs/{session}", stage.url));

    // The command makes the same of the record; a link it can only make of a broker's address.
    let record = folder.join("record.jsonl");
    let key = stage.key().unwrap();
    let report = |more: &[&str]| {
        let usual = ["audit", "report", record.to_str().unwrap(), "--key", &key, "--format"];
        stage.tool(&[&usual[..], more].concat()).unwrap()
    };
    let made = report(&["junit"]).ok().text();
    assert_eq!(made, std::fs::read_to_string(junit).unwrap().trim_end());
    let made = report(&["gitlab-annotations", "--broker", &stage.url]).ok().text();
    assert_eq!(made, std::fs::read_to_string(annotations).unwrap().trim_end());
    let _refused = report(&["gitlab-annotations"]).code(2).says("--broker");

    let policy = policies::READ_ONLY.replace("policy: stage\n", "policy: stage\nmode: observe\n");
    let stage = Stage::builder().shop(10).policy(&policy).start().unwrap();
    let _ok = stage.psql("DELETE FROM public.orders WHERE id = 1").unwrap().ok();
    let junit = stage.report_dirs().pop().unwrap().join("report.junit.xml");
    let text = check(validator().unwrap().arg("junit").arg(junit));
    assert!(text.contains("| skipped GRD-2102") && !text.contains("failure"), "{text}");
}

#[test]
fn what_a_policy_only_observes_is_exported_as_observed() {
    let policy = policies::READ_ONLY.replace("policy: stage\n", "policy: stage\nmode: observe\n");
    let stage = Stage::builder().shop(10).policy(&policy).start().unwrap();
    let _ok = stage.psql("DELETE FROM public.orders WHERE id = 1").unwrap().ok();
    let text = valid(&stage, "ocsf");
    assert_eq!(count(&text, "6005 3"), 1, "{text}");
    assert_eq!(count(&text, "2004 3"), 1, "{text}");
    assert_eq!(valid(&stage, "sarif"), "stage/default-deny warning");
}

#[test]
fn a_runs_attestation_is_verified_by_guard_and_by_a_library_of_others() {
    let stage = Stage::builder().shop(10).policy(policies::READ_ONLY).start().unwrap();
    let _ok = stage.psql("SELECT count(*) FROM public.orders").unwrap().ok();
    let key = stage.key().unwrap();
    let folder = stage.report_dirs().pop().unwrap();
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (record, attestation) = (file("record.jsonl"), file("report.intoto.jsonl"));
    let verify = |record: &str, attestation: &str| {
        let report = file("report.json");
        let known = ["audit", "verify", record, "--key", &key, "--attestation", attestation];
        stage.tool(&[&known[..], &["--report", &report]].concat()).unwrap()
    };
    let said = verify(&record, &attestation).ok();
    assert!(said.text().contains("attested by key"), "{}", said.text());

    let pem = pem(&stage, &key);
    let text = check(validator().unwrap().args(["in-toto", &attestation]).arg(pem));
    let digest =
        Finished::from(Command::new("sha256sum").arg(&record).output().unwrap()).ok().text();
    let digest = digest.split_whitespace().next().unwrap();
    assert!(text.contains(&format!("record.jsonl {digest}")), "{text}");

    // That of another run is about another record.
    let _ok = stage.psql("SELECT count(*) FROM public.customers").unwrap().ok();
    let other = stage.report_dirs().pop().unwrap().join("report.intoto.jsonl");
    assert_ne!(other, Path::new(&attestation));
    let said = verify(&record, other.to_str().unwrap()).code(1);
    assert!(said.text().contains("does not hold"), "{}", said.text());
}

/// The key as others read it.
fn pem(stage: &Stage, key: &str) -> std::path::PathBuf {
    let path = stage.dir().join("seal.pem");
    let text = format!(
        "{{ printf '\\060\\052\\060\\005\\006\\003\\053\\145\\160\\003\\041\\000'; echo {key} | base64 -d; }} | \
         openssl pkey -pubin -inform DER -out {}",
        path.display()
    );
    check(Command::new("sh").args(["-euc", &text]));
    path
}
