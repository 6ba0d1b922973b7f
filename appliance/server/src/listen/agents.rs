//! The agents that are connected, so that one that is revoked is put out within seconds.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::MachineId;
use tokio::sync::{Notify, watch};

use super::Service;

#[derive(Debug)]
struct Connected {
    key_hash: [u8; 32],
    machine: MachineId,
    shut_out: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Register {
    last: u64,
    connected: HashMap<u64, Connected>,
}

/// The agents that are connected.
#[derive(Debug, Default)]
pub(crate) struct Agents {
    register: Mutex<Register>,
    due: Notify,
}

/// The entry of one connection; gone when dropped.
#[derive(Debug)]
pub(crate) struct Entry {
    agents: Arc<Agents>,
    number: u64,
    shut_out: Arc<Notify>,
}

impl Agents {
    fn lock(&self) -> MutexGuard<'_, Register> {
        // Nothing that is done under the lock panics half-way.
        self.register.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a connection of the agent with this key.
    pub(crate) fn enter(self: &Arc<Self>, key_hash: [u8; 32], machine: MachineId) -> Entry {
        let shut_out = Arc::new(Notify::new());
        let mut register = self.lock();
        register.last += 1;
        let number = register.last;
        register.connected.insert(number, Connected { key_hash, machine, shut_out: Arc::clone(&shut_out) });
        drop(register);
        Entry { agents: Arc::clone(self), number, shut_out }
    }

    /// Looks all of them up soon, because one may have been revoked.
    pub(crate) fn recheck(&self) {
        self.due.notify_one();
    }

    /// Looks all of them up again and again until the appliance stops.
    pub(crate) async fn watch(
        self: Arc<Self>,
        service: Arc<dyn Service>,
        every: Duration,
        mut stop: watch::Receiver<bool>,
    ) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(every) => {}
                () = self.due.notified() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            let keys: BTreeMap<_, _> =
                self.lock().connected.values().map(|one| (one.key_hash, one.machine)).collect();
            if keys.is_empty() {
                continue;
            }
            let service = Arc::clone(&service);
            let looked_up = tokio::task::spawn_blocking(move || allowed(service.as_ref(), keys)).await;
            match looked_up {
                Ok(allowed) => self.shut_out_others(&allowed),
                Err(error) => tracing::error!(%error, "looking agents up has panicked"),
            }
        }
    }

    fn shut_out_others(&self, allowed: &BTreeMap<[u8; 32], (MachineId, bool)>) {
        for one in self.lock().connected.values() {
            let is_out =
                allowed.get(&one.key_hash).is_some_and(|(machine, ok)| !ok && *machine == one.machine);
            if is_out {
                one.shut_out.notify_one();
            }
        }
    }
}

/// Which keys still belong to the machine that they came as. When the lookup fails, nobody is put out for it.
fn allowed(
    service: &dyn Service,
    keys: BTreeMap<[u8; 32], MachineId>,
) -> BTreeMap<[u8; 32], (MachineId, bool)> {
    let look_up = |(key, machine): ([u8; 32], MachineId)| {
        let ok = match service.authorise(&key) {
            Ok(found) => found.is_some_and(|found| found.id == machine),
            Err(error) => {
                tracing::warn!(%machine, %error, "cannot look an agent up again");
                true
            }
        };
        (key, (machine, ok))
    };
    keys.into_iter().map(look_up).collect()
}

impl Entry {
    /// Returns when the agent has been revoked.
    pub(crate) async fn shut_out(&self) {
        self.shut_out.notified().await;
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.agents.lock().connected.remove(&self.number);
    }
}
