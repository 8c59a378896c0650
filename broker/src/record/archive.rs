//! The recordings: where sealed records stay. A folder, or a bucket of an S3-compatible store.

use std::{
    io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream::BoxStream};
use guard_core::SessionId;
use object_store::{
    ObjectStore, ObjectStoreExt as _, WriteMultipart, aws::AmazonS3Builder, path::Path as Key,
};
use sha2::{Digest as _, Sha256};
use tokio::{
    fs::{self, File},
    io::AsyncWriteExt as _,
};

use url::Url;

use super::{RecordError, rest};
use crate::config::is_loopback_host;

/// Parts of an upload that are under way at once: 5 MiB each.
const UPLOADS: usize = 4;
/// A record that is being written grows every moment: one that did not for this long is nobody's.
const ABANDONED: Duration = Duration::from_secs(10 * 60);

/// Where sealed records stay.
#[derive(Debug, Clone)]
pub(crate) enum Archive {
    /// One file a session. Where several brokers are, a folder that they share.
    Folder(PathBuf),
    /// One object a session.
    Bucket(Arc<dyn ObjectStore>, Key),
}

/// What was written, or is there: its length and its SHA-256.
#[derive(Debug, Default, Clone)]
struct Sum {
    length: u64,
    hash: Sha256,
}

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        self.hash.update(bytes);
    }

    fn finish(self) -> (u64, Vec<u8>) {
        (self.length, self.hash.finalize().to_vec())
    }
}

impl Archive {
    /// A bucket, with credentials and endpoint from where the AWS tools look for them: the environment (`AWS_REGION`,
    /// `AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, …), a web identity, the container or the instance.
    pub(crate) fn bucket(bucket: &str, prefix: &str) -> Result<Self, object_store::Error> {
        let endpoint = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"]
            .iter()
            .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
        if let Some(endpoint) = endpoint {
            let loopback =
                Url::parse(&endpoint).is_ok_and(|url| url.host_str().is_some_and(is_loopback_host));
            // Records travel in the clear on this machine only.
            builder = builder.with_endpoint(endpoint).with_allow_http(loopback);
        } else {
            builder = builder.with_allow_http(false);
        }
        let prefix = Key::parse(prefix).map_err(object_store::Error::from)?;
        Ok(Self::Bucket(Arc::new(builder.build()?), prefix))
    }

    /// Writes a sealed record, compressed, and reads it back: what answers `Ok` is there, byte for byte. Writing one again
    /// is harmless.
    pub(crate) async fn file(
        &self,
        session: SessionId,
        pieces: impl Stream<Item = io::Result<Bytes>> + Send,
    ) -> Result<(), RecordError> {
        let mut pieces = std::pin::pin!(rest::compressed(pieces)?);
        let mut sum = Sum::default();
        match self {
            Self::Folder(folder) => {
                let path = folder.join(rest::name(session));
                let new = folder.join(begun(session) + &uuid::Uuid::new_v4().simple().to_string());
                let mut file =
                    File::options().create_new(true).write(true).mode(0o600).open(&new).await?;
                let written = async {
                    while let Some(piece) = pieces.try_next().await? {
                        sum.add(&piece);
                        file.write_all(&piece).await?;
                    }
                    file.sync_all().await?;
                    fs::rename(&new, &path).await?;
                    // The name is on the disk only when its folder is.
                    File::open(folder).await?.sync_all().await
                };
                if let Err(error) = written.await {
                    let _ = fs::remove_file(&new).await;
                    return Err(error.into());
                }
            }
            Self::Bucket(bucket, prefix) => {
                let upload = bucket.put_multipart(&key(prefix, &rest::name(session))).await?;
                let mut upload = WriteMultipart::new(upload);
                let written = async {
                    while let Some(piece) = pieces.try_next().await? {
                        sum.add(&piece);
                        upload.wait_for_capacity(UPLOADS).await?;
                        upload.put(piece);
                    }
                    Ok::<_, RecordError>(())
                };
                if let Err(error) = written.await {
                    let _ = upload.abort().await;
                    return Err(error);
                }
                upload.finish().await?;
            }
        }
        let mut there = Sum::default();
        let mut read = self.kept(session).await?;
        while let Some(piece) = read.try_next().await? {
            there.add(&piece);
        }
        if sum.finish() == there.finish() {
            Ok(())
        } else {
            Err(io::Error::other("the recordings do not hold what was written").into())
        }
    }

    /// A record that is there, in pieces.
    pub(crate) async fn read(
        &self,
        session: SessionId,
    ) -> Result<BoxStream<'static, io::Result<Bytes>>, RecordError> {
        Ok(rest::expanded(self.kept(session).await?))
    }

    /// The same as it is kept: compressed, or as brokers did before.
    async fn kept(
        &self,
        session: SessionId,
    ) -> Result<BoxStream<'static, io::Result<Bytes>>, RecordError> {
        match self {
            Self::Folder(folder) => Ok(rest::read(folder, session).await?),
            Self::Bucket(bucket, prefix) => {
                let found = match bucket.get(&key(prefix, &rest::name(session))).await {
                    Err(object_store::Error::NotFound { .. }) => {
                        bucket.get(&key(prefix, &rest::plain_name(session))).await?
                    }
                    found => found?,
                };
                Ok(found.into_stream().map_err(io::Error::other).boxed())
            }
        }
    }

    /// Takes away what brokers left that died while they wrote a record: nobody writes to it any longer. What a bucket
    /// has of an upload that broke off is the bucket's to forget (a lifecycle rule for incomplete uploads).
    pub(crate) async fn clear(&self) -> io::Result<()> {
        let Self::Folder(folder) = self else { return Ok(()) };
        let mut entries = fs::read_dir(folder).await?;
        while let Some(entry) = entries.next_entry().await? {
            if !entry.file_name().to_str().is_some_and(is_begun) {
                continue;
            }
            let since = entry.metadata().await?.modified()?;
            if SystemTime::now().duration_since(since).is_ok_and(|left| left >= ABANDONED) {
                rest::remove(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Takes a record away, and what of it was being written. One that is not there is away.
    pub(crate) async fn delete(&self, session: SessionId) -> Result<(), RecordError> {
        let names = [rest::name(session), rest::plain_name(session)];
        match self {
            Self::Folder(folder) => {
                let begun = begun(session);
                let mut entries = fs::read_dir(folder).await?;
                while let Some(entry) = entries.next_entry().await? {
                    let name = entry.file_name();
                    let its = name.to_str().is_some_and(|name| {
                        name.starts_with(&begun) || names.iter().any(|its| its == name)
                    });
                    if its {
                        rest::remove(&entry.path())?;
                    }
                }
                File::open(folder).await?.sync_all().await?;
            }
            Self::Bucket(bucket, prefix) => {
                for name in names {
                    match bucket.delete(&key(prefix, &name)).await {
                        Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
            }
        }
        Ok(())
    }
}

/// How the names of files begin that a record is written to before it has its own.
fn begun(session: SessionId) -> String {
    format!(".{session}.")
}

/// Whether a file's name is one of those.
fn is_begun(name: &str) -> bool {
    let parts = name.strip_prefix('.').and_then(|name| name.split_once('.'));
    parts.is_some_and(|(session, attempt)| {
        session.parse::<SessionId>().is_ok() && uuid::Uuid::try_parse(attempt).is_ok()
    })
}

fn key(prefix: &Key, name: &str) -> Key {
    prefix.clone().join(name)
}
