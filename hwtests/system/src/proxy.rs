//! A TCP connection with a person at the plug: everything passes, is counted, and is cut when the test says so.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;

#[derive(Debug, Default)]
struct Meter {
    upward: AtomicU64,
    cut_at: AtomicU64,
}

/// Passes connections on to a port of this machine for as long as the test runs.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    meter: Arc<Meter>,
}

impl Proxy {
    /// In front of `port`.
    pub fn start(port: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let proxy = Self { port: listener.local_addr()?.port(), meter: Arc::default() };
        proxy.cut_at(u64::MAX);
        let meter = Arc::clone(&proxy.meter);
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                // A connection that cannot be passed on is closed, as a network would do.
                let _ = pass(&near, port, &meter);
            }
        });
        Ok(proxy)
    }

    /// Where it listens.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Bytes that went to the port behind it so far, over all connections.
    #[must_use]
    pub fn upward_bytes(&self) -> u64 {
        self.meter.upward.load(Ordering::SeqCst)
    }

    /// Cuts the connection that brings the count to `bytes`, once.
    pub fn cut_at(&self, bytes: u64) {
        self.meter.cut_at.store(bytes, Ordering::SeqCst);
    }
}

fn pass(near: &TcpStream, port: u16, meter: &Arc<Meter>) -> Result<()> {
    let far = TcpStream::connect(("127.0.0.1", port))?;
    let (mut up_from, mut up_to) = (near.try_clone()?, far.try_clone()?);
    let (mut down_from, mut down_to) = (far, near.try_clone()?);
    let meter = Arc::clone(meter);
    std::thread::spawn(move || copy(&mut up_from, &mut up_to, |length| meter.admit(length)));
    std::thread::spawn(move || copy(&mut down_from, &mut down_to, |_| true));
    Ok(())
}

impl Meter {
    /// Counts bytes; false if the connection is to be cut.
    fn admit(&self, length: u64) -> bool {
        let total = self.upward.fetch_add(length, Ordering::SeqCst) + length;
        let cut_at = self.cut_at.load(Ordering::SeqCst);
        total < cut_at || self.cut_at.swap(u64::MAX, Ordering::SeqCst) == u64::MAX
    }
}

fn copy(from: &mut TcpStream, to: &mut TcpStream, admit: impl Fn(u64) -> bool) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut bytes) {
        let goes_on = admit(length as u64);
        if !goes_on || to.write_all(bytes.get(..length).unwrap_or_default()).is_err() {
            break;
        }
    }
    // Either may be closed already.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
