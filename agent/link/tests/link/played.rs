//! An appliance that answers as the test says, over a stream in memory.

use std::thread::JoinHandle;

use link::Connection;
use model::archive::SharedBytes;
use model::record::Label;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use wire::{Frame, FrameKind, Limits, Outgoing, Receiver, Reply, Request};

/// What the appliance sends: an id, a reply, and bulk bytes.
pub(crate) type Sent = (u32, Reply, Vec<u8>);

pub(crate) fn sent(id: u32, reply: Reply) -> Sent {
    (id, reply, Vec::new())
}

/// What a request was, with its id and bulk bytes.
pub(crate) struct Asked {
    pub(crate) id: u32,
    pub(crate) request: Request,
    pub(crate) bulk: Vec<u8>,
}

/// The machine that the played appliance greets.
pub(crate) const MACHINE: &str = "web1";
/// The key of its chunk names.
pub(crate) const KEY: [u8; 32] = [7; 32];

pub(crate) fn welcome(id: u32) -> Sent {
    let machine = Some(Label::new(MACHINE).unwrap());
    let naming_key = Some(KEY.to_vec());
    sent(id, Reply::Welcome { version: 1, software: "played".into(), machine, naming_key })
}

/// A connection to an appliance that answers every request but the greeting with what `answer` says; `None` hangs up.
pub(crate) fn play(
    mut answer: impl FnMut(Asked) -> Option<Vec<Sent>> + Send + 'static,
) -> (Connection, JoinHandle<()>) {
    let (ours, theirs) = tokio::io::duplex(100_000);
    let appliance = std::thread::spawn(move || {
        run(theirs, move |asked| match asked.request {
            Request::Hello { .. } => Some(vec![welcome(asked.id)]),
            _ => answer(asked),
        });
    });
    (Connection::over(ours).unwrap(), appliance)
}

/// Answers until the client or the test hangs up.
pub(crate) fn run(stream: DuplexStream, answer: impl FnMut(Asked) -> Option<Vec<Sent>>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(serve(stream, answer));
}

async fn serve(mut stream: DuplexStream, mut answer: impl FnMut(Asked) -> Option<Vec<Sent>>) {
    let mut receiver = Receiver::new(FrameKind::Request, Limits::KNOWN);
    let mut buffer = vec![0; 50_000];
    loop {
        let length = stream.read(&mut buffer).await.unwrap_or(0);
        if length == 0 {
            return;
        }
        let mut input = &buffer[..length];
        while let Some(Frame { id, body, bulk }) = receiver.receive(&mut input).unwrap() {
            let request = minicbor::decode(&body).unwrap();
            let Some(replies) = answer(Asked { id, request, bulk }) else { return };
            for (id, reply, bulk) in replies {
                let bulk = if bulk.is_empty() { vec![] } else { vec![SharedBytes::from(bulk)] };
                let frame = Outgoing::new(FrameKind::Reply, id, &reply, bulk).unwrap();
                stream.write_all(&frame.to_vec()).await.unwrap();
            }
        }
    }
}
