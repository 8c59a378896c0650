//! `guard-broker people`: who is signed in, and ending that.
//!
//! It works on the store, which each broker asks at each request: whoever is ended here is signed out everywhere at once.

use anyhow::bail;
use serde_json::json;

use super::{Common, print, shown};
use crate::store::{SignIn, Store, Which};

/// People who are signed in.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  guard-broker people sessions
  guard-broker people end 3f1c09a2b7d4e815
  guard-broker people end --person 0192f0c0-ann

Who was ended can sign in again, as long as the provider lets them: take them out there first.
Exit codes: 0 · 1 no configuration, no store, or nobody of that name is signed in")]
pub(crate) struct PeopleArgs {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// List who is signed in, in which browser or command line, since when and until when
    Sessions,
    /// Sign somebody out at once, at all brokers
    End {
        /// One sign-in, as `sessions` names it
        #[arg(required_unless_present = "person", conflicts_with = "person")]
        id: Option<String>,
        /// All of one person: their `sub` at the provider
        #[arg(long, value_name = "SUB")]
        person: Option<String>,
    },
}

/// Runs one of them.
pub(crate) async fn run(args: PeopleArgs) -> anyhow::Result<()> {
    let (_, store) = args.common.open().await?;
    let done = work(&store, &args).await;
    store.close().await;
    done
}

async fn work(store: &Store, args: &PeopleArgs) -> anyhow::Result<()> {
    match &args.what {
        What::Sessions => {
            let found = store.sign_ins().await?;
            if args.common.json {
                return print(&serde_json::to_string(&found)?);
            }
            found.iter().try_for_each(|one| print(&line(one)))
        }
        What::End { id, person } => {
            let which = match (id, person) {
                (Some(id), _) => Which::One(id),
                (None, Some(person)) => Which::Of(person),
                (None, None) => bail!("say which sign-in, or --person"),
            };
            let ended = store.end_sign_ins(which).await?;
            if ended == 0 {
                bail!("nobody is signed in so: `guard-broker people sessions` lists who is");
            }
            print(&if args.common.json {
                json!({ "ended": ended }).to_string()
            } else {
                format!("signed out: {ended}")
            })
        }
    }
}

fn line(one: &SignIn) -> String {
    let SignIn { id, name, subject, at, since, until, .. } = one;
    shown(&format!("{id}  {at:<12}  since {since}  until {until}  {subject}  {name}"))
}
