//! Taking connections for as long as the appliance runs, whatever the system answers.
//!
//! When the system has no descriptors or memory left, accepting waits a little, longer each time, and goes on; those
//! who are connected do not notice.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

use super::socket::OperatorSocket;

/// The first wait after an error.
const WAIT_LEAST: Duration = Duration::from_millis(10);
/// The longest wait between two attempts.
const WAIT_MOST: Duration = Duration::from_secs(1);

/// Where connections come in.
pub(crate) trait Door: Send {
    /// What comes in.
    type Stream;

    /// Waits for the next connection.
    fn accept(&mut self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Door for TcpListener {
    type Stream = (TcpStream, std::net::SocketAddr);

    async fn accept(&mut self) -> io::Result<Self::Stream> {
        Self::accept(self).await
    }
}

impl Door for OperatorSocket {
    type Stream = UnixStream;

    async fn accept(&mut self) -> io::Result<Self::Stream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

/// Hands every connection to `welcome` until the appliance stops.
pub(crate) async fn accept_all<D: Door>(
    mut door: D,
    mut stop: watch::Receiver<bool>,
    mut welcome: impl FnMut(&D, D::Stream),
) {
    let mut wait = WAIT_LEAST;
    loop {
        let accepted = tokio::select! {
            accepted = door.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        match accepted {
            Ok(stream) => {
                wait = WAIT_LEAST;
                welcome(&door, stream);
            }
            Err(error) if concerns_one_peer(&error) => {
                tracing::debug!(%error, "a connection was gone before it was taken");
            }
            Err(error) => {
                tracing::error!(%error, wait_ms = wait.as_millis(), "cannot take connections for now");
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    _ = stop.wait_for(|stop| *stop) => return,
                }
                wait = (wait * 2).min(WAIT_MOST);
            }
        }
    }
}

/// Whether only the connection at hand is lost, so that the next can be taken at once.
fn concerns_one_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
            | io::ErrorKind::TimedOut
    )
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::time::Instant;

    use rustix::io::Errno;

    use super::*;

    /// Answers as told, then is silent.
    struct Told(VecDeque<Result<u32, Errno>>);

    impl Door for Told {
        type Stream = u32;

        async fn accept(&mut self) -> io::Result<u32> {
            match self.0.pop_front() {
                Some(answer) => answer.map_err(io::Error::from),
                None => std::future::pending().await,
            }
        }
    }

    async fn accepted(answers: Vec<Result<u32, Errno>>, count: usize) -> (Vec<u32>, Duration) {
        let began = Instant::now();
        let (stop, stopped) = watch::channel(false);
        let (sender, mut taken) = tokio::sync::mpsc::unbounded_channel();
        let door = Told(answers.into());
        let accepting =
            tokio::spawn(accept_all(door, stopped, move |_, stream| sender.send(stream).unwrap()));
        let mut all = Vec::new();
        for _ in 0..count {
            all.push(taken.recv().await.unwrap());
        }
        let lasted = began.elapsed();
        stop.send(true).unwrap();
        accepting.await.unwrap();
        (all, lasted)
    }

    #[tokio::test]
    async fn accepting_survives_a_lack_of_descriptors_and_waits_longer_each_time() {
        let lack = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
        let mut answers = vec![Ok(1)];
        answers.extend(lack.map(Err));
        answers.push(Ok(2));
        let (all, lasted) = accepted(answers, 2).await;
        assert_eq!(all, [1, 2]);
        assert!(lasted >= Duration::from_millis(10 + 20 + 40 + 80), "{lasted:?}");
        assert!(lasted < Duration::from_secs(3), "{lasted:?}");
    }

    #[tokio::test]
    async fn a_connection_that_is_gone_makes_nobody_wait() {
        let mut answers = vec![Err(Errno::CONNABORTED); 1000];
        answers.push(Ok(7));
        let (all, lasted) = accepted(answers, 1).await;
        assert_eq!(all, [7]);
        assert!(lasted < Duration::from_secs(2), "{lasted:?}");
    }

    #[tokio::test]
    async fn stopping_does_not_wait_for_descriptors() {
        let (_, lasted) = accepted(vec![Err(Errno::MFILE); 100], 0).await;
        assert!(lasted < Duration::from_millis(500), "{lasted:?}");
    }
}
