//! Terraform, which keeps its state in an API behind guard.

use std::env;

use guard_tests::script;

use crate::api::{Api, TOKEN};

const POLICY: &str = "\
policy: stage
rules:
  - name: state
    http: { methods: [GET, POST, LOCK, UNLOCK], paths: [/v1/state/shop] }
    decide: allow
";

const JOB: &str = r#"
cd "$(mktemp -d)"
export HOME="$PWD" CHECKPOINT_DISABLE=1 TF_IN_AUTOMATION=1 TF_CLI_CONFIG_FILE=/dev/null
printf 'terraform {\n  backend "http" {}\n}\noutput "version" {\n  value = "of the shop"\n}\n' > main.tf
init() {
    "$TERRAFORM" init -input=false -reconfigure -backend-config="address=$1" -backend-config="lock_address=$1" \
        -backend-config="unlock_address=$1" 2>&1
}
init "$GUARD_API_URL/v1/state/shop"
"$TERRAFORM" apply -input=false -auto-approve 2>&1
"$TERRAFORM" output version
if init "$GUARD_API_URL/v1/state/other"; then "$TERRAFORM" apply -input=false -auto-approve 2>&1 && exit 9; fi
echo refused
"#;

#[test]
#[ignore = "no distribution has Terraform: name its program in GUARD_TEST_TERRAFORM"]
fn terraform_keeps_its_state_in_one_place_and_gets_to_no_other() {
    let api = Api::start(POLICY);
    let mut command = script(JOB);
    let program = env::var_os("GUARD_TEST_TERRAFORM").expect("it names Terraform's program");
    command.env("TERRAFORM", program);
    let text = api.stage.run(&command).unwrap().ok().text();
    assert!(text.contains("\"of the shop\"") && text.ends_with("refused"), "{text}");
    let seen = api.seen();
    let methods: Vec<_> = seen.iter().map(|it| it.split(' ').next().unwrap()).collect();
    for part in [&["LOCK", "GET"][..], &["POST"], &["UNLOCK"]] {
        assert!(methods.windows(part.len()).any(|some| some == part), "{seen:?}");
    }
    assert!(seen.iter().all(|it| it.contains(" /v1/state/shop")), "{seen:?}");
    let record = api.record();
    assert!(record.contains("\"LOCK /v1/state/shop") && !record.contains(TOKEN), "{record}");
}
