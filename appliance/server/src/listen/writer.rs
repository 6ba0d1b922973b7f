//! The way out of a connection: frames in order, in pieces that may be interrupted anywhere.
//!
//! What was written of a frame is remembered, so that whoever stops writing can go on later, and a farewell never
//! lands in the middle of another frame.

use std::future::Future;
use std::io::{self, IoSlice};
use std::time::Duration;

use model::archive::ArchiveError;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;
use wire::{FrameKind, Outgoing, Reply};

use super::error::Ending;

/// Pieces that are written at a time.
const SLICES_MAX: usize = 64;
/// How long saying farewell may take.
const FAREWELL_LIMIT: Duration = Duration::from_secs(1);

/// Writes frames.
pub(crate) struct Writer<W> {
    stream: W,
    limit: Duration,
    current: Option<(Outgoing, usize)>,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    /// Onto `stream`, which may take no bytes for `limit` at most.
    pub(crate) const fn new(stream: W, limit: Duration) -> Self {
        Self { stream, limit, current: None }
    }

    /// Writes all that comes. Can be dropped at any time: what is under way is remembered.
    pub(crate) async fn run(&mut self, frames: &mut mpsc::Receiver<Outgoing>) -> Ending {
        loop {
            if let Err(ending) = self.write_current().await {
                return ending;
            }
            if frames.is_empty()
                && let Err(ending) = within(self.limit, self.stream.flush()).await
            {
                return ending;
            }
            match frames.recv().await {
                Some(frame) => self.current = Some((frame, 0)),
                None => return Ending::Closed,
            }
        }
    }

    async fn write_current(&mut self) -> Result<(), Ending> {
        while let Some((frame, written)) = &mut self.current {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let filled = frame.slices(*written, &mut slices);
            if filled == 0 {
                self.current = None;
                break;
            }
            let slices = slices.get(..filled).unwrap_or_default();
            match within(self.limit, self.stream.write_vectored(slices)).await? {
                0 => return Err(Ending::Lost(io::ErrorKind::WriteZero.into())),
                length => *written += length,
            }
        }
        Ok(())
    }

    /// Writes what is left of `frames`, says `error` if there is one, and closes, if the peer takes it quickly.
    pub(crate) async fn farewell(
        mut self,
        mut frames: mpsc::Receiver<Outgoing>,
        error: Option<ArchiveError>,
    ) {
        let mut words = error.and_then(|error| {
            let reply = Reply::Failed { session: None, error };
            Outgoing::new(FrameKind::Reply, 0, &reply, Vec::new()).ok()
        });
        let closing = async {
            self.write_current().await?;
            while let Some(frame) = frames.try_recv().ok().or_else(|| words.take()) {
                self.current = Some((frame, 0));
                self.write_current().await?;
            }
            self.stream.shutdown().await?;
            Ok::<_, Ending>(())
        };
        // A peer that does not listen any more misses nothing.
        drop(timeout(FAREWELL_LIMIT, closing).await);
    }
}

/// Reads and forgets what a peer still sends: closing before it is read would take back what the peer was told.
pub(crate) async fn linger(mut reader: impl AsyncRead + Unpin) {
    let mut buffer = vec![0; 4096];
    let reading = async { while let Ok(1..) = reader.read(&mut buffer).await {} };
    drop(timeout(FAREWELL_LIMIT, reading).await);
}

async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> Result<T, Ending> {
    timeout(limit, work).await.map_err(|_| Ending::Stuck(limit))?.map_err(Ending::Lost)
}

#[cfg(test)]
mod tests {
    use model::archive::SharedBytes;

    use super::*;

    fn frame(id: u32, length: usize) -> Outgoing {
        let bulk = vec![SharedBytes::from(vec![7; length])];
        Outgoing::new(FrameKind::Reply, id, &Reply::Chunks { results: vec![] }, bulk).unwrap()
    }

    #[tokio::test]
    async fn a_farewell_waits_for_the_frame_that_is_under_way() {
        let (ours, mut theirs) = tokio::io::duplex(100);
        let mut writer = Writer::new(ours, Duration::from_secs(5));
        let (sender, mut frames) = mpsc::channel(4);
        sender.send(frame(1, 5000)).await.unwrap();
        sender.send(frame(2, 10)).await.unwrap();
        // The pipe holds 100 bytes, so the frame is cut when writing is given up.
        let cut = timeout(Duration::from_millis(50), writer.run(&mut frames)).await;
        assert!(cut.is_err());
        let reading = tokio::spawn(async move {
            let mut all = Vec::new();
            theirs.read_to_end(&mut all).await.unwrap();
            all
        });
        let error = ArchiveError::missing("x");
        writer.farewell(frames, Some(error.clone())).await;
        let farewell = Reply::Failed { session: None, error };
        let farewell = Outgoing::new(FrameKind::Reply, 0, &farewell, vec![]).unwrap();
        let expected = [frame(1, 5000).to_vec(), frame(2, 10).to_vec(), farewell.to_vec()].concat();
        assert_eq!(reading.await.unwrap(), expected);
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_is_given_up() {
        let (ours, _theirs) = tokio::io::duplex(100);
        let mut writer = Writer::new(ours, Duration::from_millis(50));
        let (sender, mut frames) = mpsc::channel(4);
        sender.send(frame(1, 5000)).await.unwrap();
        assert!(matches!(writer.run(&mut frames).await, Ending::Stuck(_)));
    }
}
