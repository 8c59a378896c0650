//! What Java is told: it reads no variables of proxies and of authorities, but options.

use std::path::Path;

/// Each Java machine takes options of this variable, and says so.
pub(super) const OPTIONS: &str = "JAVA_TOOL_OPTIONS";

/// Guard's own listeners are not reached through the proxy.
const NOT_THROUGH_PROXY: &str = "localhost|127.*|[::1]";

/// The options: those that the job has already, and behind them the run's proxy on 127.0.0.1 and its store of authorities, if it has one.
/// A proxy's password cannot be among them.
pub(super) fn options(of_job: Option<String>, port: u16, store: Option<&Path>) -> String {
    let mut options: Vec<String> = of_job.into_iter().collect();
    for scheme in ["http", "https"] {
        options.push(format!("-D{scheme}.proxyHost=127.0.0.1 -D{scheme}.proxyPort={port}"));
    }
    // It is for `https`, too.
    options.push(format!("-Dhttp.nonProxyHosts={NOT_THROUGH_PROXY}"));
    options.extend(store.map(|store| format!("-Djavax.net.ssl.trustStore={}", store.display())));
    options.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runs_options_stand_behind_the_jobs() {
        let proxy = "-Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort=5001 -Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=5001 \
                     -Dhttp.nonProxyHosts=localhost|127.*|[::1]";
        assert_eq!(options(None, 5001, None), proxy);
        let all = options(Some("-Xmx1g".to_owned()), 5001, Some(Path::new("/tmp/run/all.jks")));
        assert_eq!(all, format!("-Xmx1g {proxy} -Djavax.net.ssl.trustStore=/tmp/run/all.jks"));
    }
}
