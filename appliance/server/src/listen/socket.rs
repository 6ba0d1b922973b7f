//! Streams as they come in: TCP with a bounded handshake, and the operator's socket.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixListener, UnixStream};

use super::ListenError;
use super::error::Ending;

/// A stream of which only so many bytes are read until somebody says that it can be trusted with more.
#[derive(Debug)]
pub(crate) struct Rationed<S> {
    stream: S,
    left: Option<usize>,
}

impl<S> Rationed<S> {
    pub(crate) const fn new(stream: S, bytes: usize) -> Self {
        Self { stream, left: Some(bytes) }
    }

    /// Lifts the limit.
    pub(crate) const fn lift(&mut self) {
        self.left = None;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rationed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if let Some(left) = &mut self.left {
            let taken = buffer.filled().len() - before;
            *left = left
                .checked_sub(taken)
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the handshake is too long"))?;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rationed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Lets the kernel notice that a peer is gone although nothing is sent.
pub(crate) fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    sockopt::set_tcp_nodelay(stream, true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, Duration::from_secs(60))?;
    sockopt::set_tcp_keepintvl(stream, Duration::from_secs(15))?;
    sockopt::set_tcp_keepcnt(stream, 4)?;
    Ok(())
}

/// The operator's socket; its file goes when it is dropped.
#[derive(Debug)]
pub(crate) struct OperatorSocket {
    pub(crate) listener: UnixListener,
    path: PathBuf,
    owner: u32,
}

impl OperatorSocket {
    /// Makes the socket; one that nobody serves is replaced.
    pub(crate) fn bind(path: &Path) -> Result<Self, ListenError> {
        let failed = |source| ListenError::Socket { path: path.to_owned(), source };
        if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
            // One that a crash left behind refuses; anything else is not ours to remove.
            match std::os::unix::net::UnixStream::connect(path) {
                Ok(_) => return Err(ListenError::InUse { path: path.to_owned() }),
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(path).map_err(failed)?;
                }
                Err(error) => return Err(failed(error)),
            }
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        // Whoever connects before this line is still asked for its user.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        let owner = std::fs::metadata(path).map_err(failed)?.uid();
        Ok(Self { listener, path: path.to_owned(), owner })
    }

    /// Checks that a peer is root or the user that the appliance runs as.
    pub(crate) fn check(&self, stream: &UnixStream) -> Result<(), Ending> {
        may_operate(stream.peer_cred()?.uid(), self.owner)
    }
}

fn may_operate(uid: u32, owner: u32) -> Result<(), Ending> {
    if uid == 0 || uid == owner { Ok(()) } else { Err(Ending::User(uid)) }
}

impl Drop for OperatorSocket {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "the socket was gone already");
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[test]
    fn root_and_the_owner_operate_and_nobody_else() {
        for (uid, owner, allowed) in [(0, 0, true), (0, 7, true), (7, 7, true), (7, 0, false), (8, 7, false)]
        {
            assert_eq!(may_operate(uid, owner).is_ok(), allowed, "{uid} at the socket of {owner}");
        }
    }

    #[tokio::test]
    async fn more_bytes_than_the_ration_are_an_error_until_it_is_lifted() {
        let mut rationed = Rationed::new(&[7u8; 100][..], 60);
        let mut buffer = [0; 50];
        assert_eq!(rationed.read(&mut buffer).await.unwrap(), 50);
        assert!(rationed.read(&mut buffer).await.is_err());
        let mut rationed = Rationed::new(&[7u8; 100][..], 60);
        rationed.read_exact(&mut buffer).await.unwrap();
        rationed.lift();
        assert_eq!(rationed.read(&mut buffer).await.unwrap(), 50);
    }

    #[tokio::test]
    async fn a_socket_that_nobody_serves_is_replaced_and_one_that_is_served_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("operator");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "a crash leaves the file behind");
        let socket = OperatorSocket::bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(OperatorSocket::bind(&path), Err(ListenError::InUse { .. })));
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(OperatorSocket::bind(&path), Err(ListenError::Socket { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }
}
