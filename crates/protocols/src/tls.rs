//! TLS towards a resource, by the name that its address has.

use std::{sync::Arc, time::Duration};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{ProtocolError, Resource};

/// How long TLS may take.
const TLS_TIMEOUT: Duration = Duration::from_secs(20);

/// Opens TLS on a connection to the resource.
pub(crate) async fn open(
    resource: &dyn Resource,
    config: Arc<ClientConfig>,
    tcp: TcpStream,
) -> Result<TlsStream<TcpStream>, ProtocolError> {
    let address = &resource.spec().address;
    let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(host)
        .map_err(|_| ProtocolError::Guard(format!("`{address}` has no name for TLS")))?;
    let opening = TlsConnector::from(config).connect(name, tcp);
    let opened = timeout(TLS_TIMEOUT, opening).await;
    let opened = opened.map_err(|_| ProtocolError::Resource("TLS took too long".into()))?;
    opened.map_err(|error| ProtocolError::Resource(format!("TLS: {error}")))
}
