//! The thread of a connection: moves bytes between the carrier and those who use the connection.
//!
//! It ends when the carrier does, when the other end breaks the protocol, or when the connection is dropped; all
//! that waits is told why.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use wire::{FrameKind, Limits, Outgoing, Receiver};

use crate::LinkError;
use crate::carrier::Carrier;
use crate::state::State;

/// Bytes that are read at a time.
const READ_LENGTH: usize = 64 << 10;
/// Pieces that are written at a time.
const SLICES_MAX: usize = 16;
/// How long a write may make no progress.
const WRITE_LIMIT: Duration = Duration::from_secs(120);
/// How long closing may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// Opens the carrier, on the thread of the connection.
pub(crate) type Opening = Pin<Box<dyn Future<Output = Result<(Box<dyn Carrier>, String), LinkError>> + Send>>;

/// What the thread works with.
pub(crate) struct Pump {
    pub(crate) state: Arc<State>,
    pub(crate) outgoing: mpsc::UnboundedReceiver<Outgoing>,
    pub(crate) closing: watch::Receiver<bool>,
}

impl Pump {
    /// Runs until the connection ends; says through `opened` where it leads, or why nowhere.
    pub(crate) fn run(self, opening: Opening, opened: &SyncSender<Result<String, LinkError>>) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(opened.send(Err(LinkError::Thread(error)))),
        };
        runtime.block_on(async {
            match opening.await {
                Err(error) => drop(opened.send(Err(error))),
                Ok((carrier, address)) => {
                    drop(opened.send(Ok(address)));
                    self.pump(carrier).await;
                }
            }
        });
    }

    async fn pump(self, carrier: Box<dyn Carrier>) {
        let Self { state, mut outgoing, mut closing } = self;
        let (mut reader, mut writer) = tokio::io::split(carrier);
        let cause = tokio::select! {
            cause = read(&mut reader, &state) => cause,
            cause = write(&mut writer, &mut outgoing, &state) => cause,
            _ = closing.wait_for(|closing| *closing) => "it was closed".to_owned(),
        };
        state.break_off(&cause);
        outgoing.close();
        // The other end notices either way; this only tells it that nothing was cut off.
        drop(timeout(CLOSE_LIMIT, writer.shutdown()).await);
    }
}

/// Reads until the connection ends; why it did.
async fn read(reader: &mut ReadHalf<Box<dyn Carrier>>, state: &State) -> String {
    let mut receiver = Receiver::new(FrameKind::Reply, Limits::KNOWN);
    let mut buffer = vec![0; READ_LENGTH];
    loop {
        let mut input = match reader.read(&mut buffer).await {
            Ok(0) if receiver.is_between_frames() => return "the appliance closed it".into(),
            Ok(0) => return "the appliance closed it within a message".into(),
            Ok(length) => buffer.get(..length).unwrap_or_default(),
            Err(error) => return error.to_string(),
        };
        state.hear();
        loop {
            let taken = match receiver.receive(&mut input) {
                Ok(None) => break,
                Ok(Some(frame)) => state.receive(frame),
                Err(error) => Err(error.into()),
            };
            if let Err(error) = taken {
                return chain(&error);
            }
        }
    }
}

/// Writes what comes until the connection ends; why it did.
async fn write(
    writer: &mut WriteHalf<Box<dyn Carrier>>,
    outgoing: &mut mpsc::UnboundedReceiver<Outgoing>,
    state: &State,
) -> String {
    while let Some(frame) = outgoing.recv().await {
        let written = write_frame(writer, &frame).await;
        state.written();
        let written = match written {
            Ok(()) if outgoing.is_empty() => within_limit(writer.flush()).await,
            other => other,
        };
        if let Err(error) = written {
            return error.to_string();
        }
    }
    "it was closed".into()
}

async fn write_frame(writer: &mut WriteHalf<Box<dyn Carrier>>, frame: &Outgoing) -> io::Result<()> {
    let mut written = 0;
    loop {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let filled = frame.slices(written, &mut slices);
        if filled == 0 {
            return Ok(());
        }
        match within_limit(writer.write_vectored(slices.get(..filled).unwrap_or_default())).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            length => written += length,
        }
    }
}

async fn within_limit<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let expired = |_| io::Error::new(io::ErrorKind::TimedOut, "the appliance takes no more bytes");
    timeout(WRITE_LIMIT, work).await.map_err(expired)?
}

/// An error with all its causes.
fn chain(error: &LinkError) -> String {
    model::archive::ArchiveError::new(error.kind(), error).message
}
