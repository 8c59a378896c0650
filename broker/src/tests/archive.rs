//! The recordings: what is said to be there is there, in a folder and in a bucket.

use std::{
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::{TryStreamExt as _, stream};
use guard_core::SessionId;
use object_store::{memory::InMemory, path::Path};

use crate::record::Archive;

fn session() -> SessionId {
    SessionId::from_uuid(uuid::Uuid::now_v7())
}

/// More than one part of an upload.
fn pieces() -> Vec<Bytes> {
    (0..30_u8).map(|number| Bytes::from(vec![number; 500_000])).collect()
}

fn whole(pieces: Vec<Bytes>) -> stream::Iter<std::vec::IntoIter<io::Result<Bytes>>> {
    stream::iter(pieces.into_iter().map(Ok).collect::<Vec<_>>())
}

async fn archives() -> Vec<(Archive, Option<tempfile::TempDir>)> {
    let folder = tempfile::tempdir().unwrap();
    let mut archives = vec![
        (Archive::Folder(folder.path().to_owned()), Some(folder)),
        (Archive::Bucket(Arc::new(InMemory::new()), Path::from("eu/records")), None),
    ];
    // A real one: `AWS_ENDPOINT_URL`, a key and a bucket that is there.
    if let Ok(bucket) = std::env::var("GUARD_TEST_BUCKET") {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        archives.push((Archive::bucket(&bucket, "eu/records").unwrap(), None));
    }
    archives
}

#[tokio::test]
async fn a_record_is_there_byte_for_byte_also_when_it_is_brought_again() {
    for (archive, _folder) in archives().await {
        let session = session();
        for _ in 0..2 {
            archive.file(session, whole(pieces())).await.unwrap();
            let found: Vec<Bytes> =
                archive.read(session).await.unwrap().try_collect().await.unwrap();
            assert!(found.concat() == pieces().concat(), "{archive:?}");
        }
    }
}

#[tokio::test]
async fn a_record_that_breaks_off_is_not_there() {
    for (archive, folder) in archives().await {
        let session = session();
        let mut broken: Vec<io::Result<Bytes>> = pieces().into_iter().map(Ok).collect();
        broken.push(Err(io::Error::other("the store is gone")));
        archive.file(session, stream::iter(broken)).await.unwrap_err();
        assert!(archive.read(session).await.is_err(), "{archive:?}");
        if let Some(folder) = folder {
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        }
    }
}

#[tokio::test]
async fn what_a_dead_broker_left_is_cleared_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::Folder(folder.path().to_owned());
    let (whole_one, left) = (session(), session());
    archive.file(whole_one, whole(pieces())).await.unwrap();
    let named = |name: String, age: u64| {
        let file = std::fs::File::create(folder.path().join(&name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
        name
    };
    let attempt = || uuid::Uuid::new_v4().simple().to_string();
    let abandoned = named(format!(".{left}.{}", attempt()), 3600);
    // Being written; of somebody else; a record.
    let stay = [
        named(format!(".{left}.{}", attempt()), 5),
        named(format!(".{left}.notes"), 3600),
        named(format!(".nfs{}", attempt()), 3600),
        named(format!("{left}.jsonl"), 3600),
        format!("{whole_one}.jsonl.zst"),
    ];
    archive.clear().await.unwrap();
    archive.clear().await.unwrap();
    assert!(!folder.path().join(abandoned).exists());
    for name in stay {
        assert!(folder.path().join(&name).exists(), "{name}");
    }
}
