//! Interrupts: the first one asks what runs to stop where it can go on later, the second one ends it there and then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

#[expect(
    clippy::disallowed_methods,
    reason = "who asks twice does not want to wait for what `main` waits for"
)]
fn end_at_once() -> ! {
    std::process::exit(1);
}

/// A flag that the first SIGINT or SIGTERM sets; the second one ends the process with exit code 1. Whatever runs can
/// be ended at any moment: a backup and a restore go on where they were.
pub fn stop_flag() -> std::io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        let mut wait = || {
            runtime.block_on(async {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            });
        };
        wait();
        flag.store(true, Ordering::Relaxed);
        wait();
        end_at_once();
    })?;
    Ok(stop)
}
