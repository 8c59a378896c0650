//! Does one thing so many times: `cargo xtask bench --only parse` counts the instructions of it.

use std::{hint::black_box, sync::Arc};

use guard_sql::{Catalog, NoNames, analyze, template};

const SHORT: &str = "SELECT abalance FROM pgbench_accounts WHERE aid = 4711";
const LONG: &str = "SELECT u.id, u.name, count(o.id) AS orders, sum(o.amount) FROM users u \
    LEFT JOIN orders o ON o.user_id = u.id AND o.state IN ('open', 'paid', 'sent') \
    WHERE u.created_at >= '2024-01-01' AND u.name LIKE 'a%' AND u.id BETWEEN 1 AND 100000 \
    GROUP BY u.id, u.name HAVING count(o.id) > 3 ORDER BY 4 DESC, 1 LIMIT 50 OFFSET 100";

fn main() {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().unwrap_or_default();
    let times: u32 = arguments.next().and_then(|times| times.parse().ok()).unwrap_or_default();
    let catalog = Catalog::default();
    for _ in 0..times {
        match what.as_str() {
            "analyze-short" => drop(black_box(analyze(&Arc::from(SHORT), &catalog, &NoNames))),
            "analyze-long" => drop(black_box(analyze(&Arc::from(LONG), &catalog, &NoNames))),
            "template-short" => drop(black_box(template(black_box(SHORT)))),
            "template-long" => drop(black_box(template(black_box(LONG)))),
            _ => return,
        }
    }
}
